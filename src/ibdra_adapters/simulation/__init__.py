"""One simulated machine behind the fake verbs, a generated sysfs tree and the fake netlink.

Why: the driver's whole way must run, and be shown, where there is no InfiniBand.  A
machine is described by one small file (``profiles/``); from it comes a tree that the real
sysfs reader reads, and a kernel with the real one's manners.
"""
