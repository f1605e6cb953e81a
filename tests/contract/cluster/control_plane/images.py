"""Container images made here: busybox with a root's folders, as an archive to import.

Why: nothing is pulled from anywhere.  One image is enough for pods and for their sandboxes;
it also has the name of the one that the examples ask for.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

BUSYBOX = Path("/bin/busybox")
IMAGE = "ibdra.test/busybox:1"
PAUSE = "ibdra.test/pause:1"
EXAMPLES_IMAGE = "docker.io/library/debian:bookworm-slim"
_FOLDERS = ("bin", "dev", "etc", "proc", "run", "sys", "tmp", "var")
_TOOLS = (
    *("sh", "cat", "env", "grep", "ls", "readlink", "sleep", "sort", "stat", "true"),
    *("ip", "test", "touch"),
)
_ARCHITECTURES = {62: "amd64", 183: "arm64"}  # ELF's e_machine
_MEDIA = "application/vnd.oci.image"


def write_archive(path: Path) -> None:
    """Write an OCI archive with all images."""
    layer = _layer()
    blobs = _Blobs()
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}
    packed = blobs.add(layer, f"{_MEDIA}.layer.v1.tar")
    manifests = []
    for name, command in {
        IMAGE: ["sh"],
        EXAMPLES_IMAGE: [],  # as there, a pod's command is the whole of it
        PAUSE: ["sleep", "2147483647"],
    }.items():
        machine = {"architecture": _architecture(), "os": "linux"}
        config = {"Entrypoint": command, "Env": ["PATH=/bin"]}
        image = {**machine, "config": config, "rootfs": rootfs}
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{_MEDIA}.manifest.v1+json",
            "config": blobs.add_json(image, f"{_MEDIA}.config.v1+json"),
            "layers": [packed],
        }
        described = blobs.add_json(manifest, f"{_MEDIA}.manifest.v1+json")
        manifests.append({**described, "annotations": {"io.containerd.image.name": name}})
    with tarfile.open(path, "w") as archive:
        _add_file(archive, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
        index = {"schemaVersion": 2, "manifests": manifests}
        _add_file(archive, "index.json", json.dumps(index).encode())
        for digest, content in blobs.found.items():
            _add_file(archive, f"blobs/sha256/{digest}", content)


class _Blobs:
    """What an archive holds, by its hash."""

    def __init__(self) -> None:
        self.found: dict[str, bytes] = {}

    def add(self, content: bytes, media_type: str) -> dict[str, Any]:
        """Keep a blob; give what refers to it."""
        digest = hashlib.sha256(content).hexdigest()
        self.found[digest] = content
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}

    def add_json(self, content: object, media_type: str) -> dict[str, Any]:
        """Keep a document; give what refers to it."""
        return self.add(json.dumps(content).encode(), media_type)


def _layer() -> bytes:
    """Make the one layer: folders, busybox, and its names."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in _FOLDERS:
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
        _add_file(archive, "bin/busybox", BUSYBOX.read_bytes(), mode=0o755)
        for tool in _TOOLS:
            link = tarfile.TarInfo(f"bin/{tool}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
    return packed.getvalue()


def _add_file(archive: tarfile.TarFile, name: str, content: bytes, *, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def _architecture() -> str:
    """Read what busybox was compiled for."""
    machine = int.from_bytes(BUSYBOX.read_bytes()[18:20], "little")
    return _ARCHITECTURES[machine]
