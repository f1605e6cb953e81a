"""Metrics: what was counted, for Prometheus or for a test to look at."""
