"""The ways to build the image and to try it, as docs/user/image.md has them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from contract.image.built import ENGINE, LIMITS, ROOT, ran
from unit.docs.pages import typed_lines

_BASE = "debian:bookworm-slim"
_MADE_HERE = "localhost/ibdra-base:bookworm"
_TAGS = ("localhost/ibdra:0.1.0", "localhost/my/ibdra:0.1.0")


def typed(line: str) -> str:
    """Type a line in the project's folder; a failure carries what it printed."""
    environment = {key: value for key, value in os.environ.items() if key != "BASE"}
    done = subprocess.run(
        ["sh", "-euc", line],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert 0 == done.returncode, f"{line}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


def exists(tag: str) -> bool:
    """Tell whether there is an image of this name."""
    return 0 == subprocess.run(["podman", "image", "exists", tag], check=False).returncode


@pytest.fixture
def names(image: str) -> Iterator[None]:
    """Have a Debian of the registry's name where none can be pulled; no name is left behind."""
    del image
    before = {tag for tag in (*_TAGS, _BASE) if exists(tag)}
    if subprocess.run(["podman", "pull", "-q", _BASE], check=False, capture_output=True).returncode:
        ran("podman", "tag", _MADE_HERE, f"docker.io/library/{_BASE}")
    yield
    for tag in (*_TAGS, _BASE):
        if tag not in before and exists(tag):
            ran("podman", "rmi", tag)


@pytest.mark.real
def test_each_way_to_build_it_ends_with_an_image_that_runs(names: None) -> None:
    """Whatever it is built on, and by whom: it runs the demo by the line for that."""
    del names
    by_make, *others = typed_lines("docs/user/image.md", "## Build it")
    (try_it,) = typed_lines("docs/user/image.md", "## Try it")
    engine = " ".join((*ENGINE, "run", *LIMITS))
    ours, theirs = _TAGS
    for tag, line in ((ours, by_make), *((theirs, line) for line in others)):
        typed(line)
        said = typed(try_it.replace("podman run", engine).replace(ours, tag))
        assert said.splitlines()[-1].startswith("Nothing is left"), line
