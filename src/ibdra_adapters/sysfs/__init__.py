"""Facts and switches below ``/sys``, or below any directory that stands for it.

``reader`` is the real thing and works on a captured tree as well as on the kernel's own;
``fake`` holds the same facts in memory.
"""
