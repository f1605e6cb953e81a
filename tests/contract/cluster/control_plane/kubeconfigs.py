"""Kubeconfigs: where a server is, and who one is there.

They are JSON, which every reader of YAML reads, and name files that live as long as the
control plane.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from contract.cluster.control_plane.certificates import Certificate


@dataclass(frozen=True, slots=True)
class Server:
    """An API server, as its clients know it."""

    url: str
    ca_file: Path

    def kubeconfig(self, path: Path, user: dict[str, str]) -> Path:
        """Write a kubeconfig for one user."""
        cluster = {"server": self.url, "certificate-authority": str(self.ca_file)}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
        path.write_text(json.dumps(content, indent=1))
        path.chmod(0o600)
        return path


def with_certificate(certificate: Certificate) -> dict[str, str]:
    """Be whom a client certificate names."""
    return {
        "client-certificate": str(certificate.certificate),
        "client-key": str(certificate.key),
    }
