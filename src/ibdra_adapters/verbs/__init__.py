"""The ``Verbs`` port: libibverbs, and a fake of it.

Why: a port's active MTU stands in no sysfs file.
"""
