"""The domain's ports fulfilled, and the outside world's ways in.

Why: one folder a port, real and fake side by side, one third-party client a module.  The
fakes are shipped: the demo and other drivers' tests use them.
"""
