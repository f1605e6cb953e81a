"""Building with Go: once, for all who want it, and never quietly not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from contract.cluster.control_plane import building
from contract.cluster.control_plane.building import Build, BuildFailed, Lacking, commands

Maker = Callable[..., Build]
_GOOD = "package main\nfunc main() {}\n"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    """Give a way to make modules of one small command, with a cache of the test's own."""
    if shutil.which("go") is None:
        pytest.skip("needs Go")
    monkeypatch.setattr(building, "CACHE", tmp_path / "cache")
    monkeypatch.setenv("GOTOOLCHAIN", "local")

    def module(source: str = _GOOD, *, go: str = "1.20") -> Build:
        folder = tmp_path / "module"
        folder.mkdir(exist_ok=True)
        (folder / "go.mod").write_text(f"module example.com/tool/v3\ngo {go}\n")
        (folder / "go.sum").write_text("")
        (folder / "main.go").write_text(source)
        packages = {"hammer": "example.com/tool/v3"}
        return Build(name="Tool v3.0.1", module=folder, version="v3.0.1", packages=packages)

    return module


def test_command_is_built(made: Maker) -> None:
    """A command is where the answer says, under the name it was asked for."""
    build = made()
    folder = commands(build)
    assert os.access(folder / "hammer", os.X_OK)
    assert building.CACHE / "tool-v3.0.1/bin" == folder


def test_built_once(made: Maker) -> None:
    """What is there is not built again, even if two want it at the same time."""
    build = made()

    def inode(_: int) -> int:
        return (commands(build) / "hammer").stat().st_ino

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(inode, range(2))
    assert first == second == inode(0)


def test_other_sources_are_built_anew(made: Maker) -> None:
    """Another go.mod means other sources: the command is built again."""
    folder = commands(made())
    before = (folder / "hammer.stamp").read_text()
    commands(made(go="1.21"))
    assert before != (folder / "hammer.stamp").read_text()


def test_failure_is_loud(made: Maker) -> None:
    """What does not compile is an error with the compiler's words, and leaves no stamp."""
    build = made("package main\nfunc main() { nonsense() }\n")
    with pytest.raises(BuildFailed, match="undefined: nonsense"):
        commands(build)
    assert not (build.folder / "hammer.stamp").exists()


def test_no_go(made: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Go the reason says what this machine lacks."""
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Lacking, match=r"^needs Go"):
        commands(made())


def test_old_go(made: Maker) -> None:
    """With a Go that is too old the reason says which is wanted."""
    with pytest.raises(Lacking, match=r"^needs a newer Go .*1\.999"):
        commands(made(go="1.999"))
