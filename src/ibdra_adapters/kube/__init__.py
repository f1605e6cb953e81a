"""The API server: its objects in memory for the demo and tests.

``fake_api`` keeps objects with the server's manners, ``fake`` puts the domain's ports in
front of it.
"""
