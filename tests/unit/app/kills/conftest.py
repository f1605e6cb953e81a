"""What tests that make thousands of machines share."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def room() -> Iterator[Path]:
    """Give a folder in memory if there is one: every step is a machine with its files."""
    memory = Path("/dev/shm")
    base = memory if memory.is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="ibdra-kills-", dir=base))
    yield folder
    shutil.rmtree(folder)
