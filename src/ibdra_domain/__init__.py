"""The pure heart of ibdra: facts in, plans out.

Why: what may be published, given to whom and moved where is decided here, without a
clock, a file or a client library, so that every decision can be tested exhaustively and
read without knowing Kubernetes' or the kernel's interfaces.
"""
