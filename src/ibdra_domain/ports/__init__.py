"""The driver's needs of the outside world, in the words of the domain.

Why: every adapter, real, simulated or another driver's own, fulfils one of these small
Protocols and passes the same contract suite.  Nothing here knows who fulfils it.
"""
