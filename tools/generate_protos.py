"""Generate the kubelet protocol's Python code, or check that nobody edited it.

Why: the generator must be older than the oldest protobuf run time we support, and it pins
a protobuf of its own, so it cannot live in the development environment.  It gets an
environment below ``.cache/``, from a file that fixes every package by hash.

Usage: ``python tools/generate_protos.py [--check]``.  With ``--check`` nothing is written;
differences are printed and the exit code is 1.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "tools" / "protoc-constraints.txt"
PROTOS = ROOT / "src" / "ibdra_adapters" / "kubelet" / "protos"
PACKAGE = "ibdra_adapters/kubelet/_generated"
GENERATED = ROOT / "src" / PACKAGE


def generator() -> Path:
    """Give the generator's interpreter; its environment is made anew for new constraints."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    digest = hashlib.sha256(CONSTRAINTS.read_bytes()).hexdigest()[:12]
    home = ROOT / ".cache" / f"protoc-{version}-{digest}"
    python = home / "bin" / "python"
    ready = home / "ready"
    if not ready.exists():
        shutil.rmtree(home, ignore_errors=True)
        venv.create(home, with_pip=True)
        install: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "-r", CONSTRAINTS]
        exactly = ["--require-hashes", "--only-binary=:all:", "--no-deps"]
        subprocess.run([*install, *exactly], check=True)
        ready.touch()
    return python


def generate(python: Path, into: Path) -> None:
    """Generate messages and their type stubs.

    The protos are read under the package's own path.  That path is the file's name in
    protobuf's process-wide pool, where a plain ``api.proto`` would meet other people's.
    """
    protoc: list[str | Path] = [
        python,
        "-m",
        "grpc_tools.protoc",
        f"--proto_path={PACKAGE}={PROTOS}",
    ]
    outputs = [f"--python_out={into}", f"--pyi_out={into}"]
    protos = [f"{PACKAGE}/{proto.name}" for proto in sorted(PROTOS.glob("*.proto"))]
    subprocess.run([*protoc, *outputs, *protos], check=True)


def read(folder: Path) -> dict[str, str]:
    """Give the generated files' contents by name."""
    return {path.name: path.read_text() for path in folder.glob("*_pb2*.py*")}


def differences(*, committed: dict[str, str], fresh: dict[str, str]) -> list[str]:
    """Give the unified diff from what is committed to what the generator makes."""
    return [
        line
        for name in sorted(committed | fresh)
        for line in difflib.unified_diff(
            committed.get(name, "").splitlines(),
            fresh.get(name, "").splitlines(),
            f"committed/{name}",
            f"generated/{name}",
            lineterm="",
        )
    ]


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Generate the kubelet protocol's Python code.")
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 if different")
    check: bool = parser.parse_args().check
    with tempfile.TemporaryDirectory() as scratch:
        generate(generator(), Path(scratch))
        fresh = read(Path(scratch) / PACKAGE)
    committed = read(GENERATED)
    diff = differences(committed=committed, fresh=fresh)
    if check:
        print("\n".join(diff) if diff else f"{len(fresh)} generated files are up to date")
        return 1 if diff else 0
    for name in committed.keys() - fresh.keys():
        (GENERATED / name).unlink()
    for name, text in fresh.items():
        (GENERATED / name).write_text(text)
    print(f"{len(fresh)} files generated, {len(diff)} lines of difference")
    return 0


if __name__ == "__main__":
    sys.exit(main())
