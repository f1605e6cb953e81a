"""The API server: a cluster's, and one in memory for the demo and tests.

``server`` and ``server_reports`` put the domain's ports in front of ``client``, which tries
until there is an answer; ``connection`` is one try with the official client, ``answers`` reads
what comes back.  ``fake_api`` keeps objects with the server's manners, ``fake`` puts the same
ports in front of it.
"""
