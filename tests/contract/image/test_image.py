"""The image: built here from the Dockerfile, then run as a container engine runs it.

Why: what is left out of it is found missing in production otherwise.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from contract.image.built import ENGINE, LIMITS, ROOT, ran

_LARGEST = 280e6
"""Bytes; docs/user/image.md says what they are."""


def in_image(image: str, *command: str, options: tuple[str, ...] = ()) -> str:
    """Run it as the chart does: a root that cannot be written, and here no network at all."""
    fixed = ("--rm", "--network=none", "--read-only", "--tmpfs=/tmp", *LIMITS)
    return ran(*ENGINE, "run", *fixed, *options, image, *command)


def inspected(image: str) -> dict[str, Any]:
    """Read the image's own description."""
    found: dict[str, Any] = json.loads(ran("podman", "image", "inspect", image))[0]
    return found


@pytest.mark.real
def test_it_runs_the_demo(image: str) -> None:
    """The driver's whole job, in a container that may write nowhere but in /tmp."""
    assert "Nothing is left" in in_image(image, "demo")


@pytest.mark.real
def test_it_needs_no_root_for_the_webhook(image: str) -> None:
    """A user that nobody knows may start the webhook's command."""
    said = in_image(image, "webhook", "--help", options=("--user=65532:65532",))
    assert "validating webhook" in said


@pytest.mark.real
def test_it_is_of_this_version(image: str) -> None:
    """Program, hook and label agree; a label says of which commit it is."""
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    hook = in_image(image, "--version", options=("--entrypoint=/usr/libexec/ibdra/ibdra-hook",))
    labels = inspected(image)["Labels"]
    assert f"ibdra, version {version[1]}\n" == in_image(image, "--version")
    assert f"ibdra-hook {version[1]}\n" == hook
    assert version[1] == labels["org.opencontainers.image.version"]
    commit = ran("git", "-C", str(ROOT), "rev-parse", "HEAD").strip()
    assert commit == labels["org.opencontainers.image.revision"]


@pytest.mark.real
def test_what_was_left_out_is_not_missed(image: str) -> None:
    """Each module of ours can be imported, also those that a demo does not need."""
    program = (
        "import importlib, pkgutil\n"
        "import ibdra_adapters, ibdra_app, ibdra_domain\n"
        "found = [m.name for p in (ibdra_adapters, ibdra_app, ibdra_domain)\n"
        "         for m in pkgutil.walk_packages(p.__path__, p.__name__ + '.')\n"
        "         if not m.name.endswith(('build_cdef', '__main__'))]\n"
        "for name in found: importlib.import_module(name)\n"
        "print(len(found))\n"
    )
    said = in_image(image, "-c", program, options=("--entrypoint=/usr/lib/ibdra/bin/python",))
    assert int(said) > 100


@pytest.mark.real
def test_it_finds_hcas_with_libibverbs(image: str) -> None:
    """The provider of mlx5 HCAs is there, and the library loads."""
    program = (
        "from ibdra_adapters.verbs.libibverbs import *\n"
        "import ctypes; ctypes.CDLL('libibverbs.so.1'); ctypes.CDLL('libmlx5.so.1'); print('ok')"
    )
    said = in_image(image, "-c", program, options=("--entrypoint=/usr/lib/ibdra/bin/python",))
    assert "ok\n" == said


@pytest.mark.real
def test_it_is_small_and_one_layer(image: str) -> None:
    """No layer carries what a later one has taken out."""
    found = inspected(image)
    assert 1 == len(found["RootFS"]["Layers"])
    assert _LARGEST > found["Size"]


@pytest.mark.real
def test_it_holds_no_settings_of_the_machine_that_built_it(image: str) -> None:
    """Settings of pip and apt are not there, nor the two themselves, nor certificates."""
    places = (
        "/etc/pip.conf /etc/ssl/certs /etc/apt ~/.cache /usr/bin/apt-get /usr/lib/ibdra/bin/pip"
    )
    program = f"ls {places}; true"
    said = in_image(image, "-c", program, options=("--entrypoint=/bin/sh",))
    assert "" == said
