"""ResourceClaims from files, where there is no API server to ask.

Why: a node can be tried, and a driver's fault be found, with nothing but the claims that
``kubectl get resourceclaim -o json`` wrote once.
"""

from __future__ import annotations

import json
from pathlib import Path

from ibdra_adapters.kube.decoding import decoded
from ibdra_domain.errors import KubeFailed, KubeNotFound
from ibdra_domain.kube_objects import ResourceClaim


class FolderClaims:
    """Fulfils the Claims port: ``<folder>/<namespace>/<name>.json``, read at every question."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, namespace: str, name: str) -> ResourceClaim:
        """Fulfil the port."""
        path = self._folder / namespace / f"{name}.json"
        if path.parent.parent != self._folder or path.name.startswith("."):
            raise KubeNotFound(f"{namespace}/{name} names no claim", remedy="give its real name")
        try:
            body = json.loads(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError) as error:
            raise KubeNotFound(
                f"there is no claim {namespace}/{name} in {self._folder}",
                remedy="write it there with `kubectl get resourceclaim -o json`",
            ) from error
        except (OSError, ValueError, RecursionError) as error:
            raise KubeFailed(
                f"{path} is not readable as JSON ({error})", remedy="mend it"
            ) from error
        if not isinstance(body, dict):
            raise KubeFailed(f"{path} is no object", remedy="give one claim a file")
        return decoded(body, ResourceClaim)
