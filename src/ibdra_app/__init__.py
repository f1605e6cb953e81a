"""Use cases and wiring.

Why: here, and only here, the pure domain meets the adapters: each use case is one small
class over ports, and :mod:`ibdra_app.container` says which adapter fulfils which port.
"""
