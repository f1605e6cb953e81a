"""Kubernetes manifests as YAML or JSON, read with line numbers and written for kubectl."""
