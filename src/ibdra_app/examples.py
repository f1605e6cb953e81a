"""Where the examples are: beside the source, or in the installed package."""

from __future__ import annotations

from pathlib import Path

from ibdra_domain.errors import InvalidManifest


def examples_folder() -> Path:
    """Find the folder with ``ib-test1.yaml`` and the device classes."""
    here = Path(__file__).resolve()
    for folder in (here.parent / "examples", here.parents[2] / "examples"):
        if (folder / "device-classes.yaml").is_file():
            return folder
    raise InvalidManifest(
        "the examples are not installed", remedy="name the folder with --examples"
    )
