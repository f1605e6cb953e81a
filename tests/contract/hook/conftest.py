"""Fixtures: the program, built once a session; a short folder for its sockets."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from contract.hook.hook_runs import NEEDS_CC, Helper, build


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Build the program at first use, or skip the test."""
    out = tmp_path_factory.mktemp("hook")

    @cache
    def once() -> Path | None:
        return build(out)

    def program() -> Path:
        path = once()
        if path is None:
            pytest.skip(NEEDS_CC)
        return path

    return program


@pytest.fixture
def program(built: Callable[[], Path]) -> Path:
    """Give the program."""
    return built()


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a short path, root's alone."""
    path = tmp_path_factory.mktemp("h")
    path.chmod(0o700)
    return path


@pytest.fixture
def helper(program: Path, folder: Path) -> Helper:
    """Give the program with a socket and marks of its own, neither there yet."""
    return Helper(program=program, socket=folder / "hook.sock", marks=folder / "attached")
