"""A folder for nodes: a unix socket's path must be short, and pytest's own are not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Give a folder with a short path."""
    with TemporaryDirectory(prefix="ibdra-") as folder:
        yield Path(folder)
