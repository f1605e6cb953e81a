"""The ``Verbs`` and ``AsyncEvents`` ports: libibverbs, and a fake of it.

Why: a port's active MTU stands in no sysfs file, and a port that goes down tells no other.
"""
