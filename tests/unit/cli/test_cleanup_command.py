"""``ibdra cleanup``: what it prints and how it ends."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from unit.cli.cli_runs import run


def places(folder: Path) -> list[str]:
    """Give the options for a driver that lives in one folder."""
    named = {f"--{name}-dir": folder / name for name in ("kubelet", "cdi", "state", "run")}
    words = (named | {"--hook": folder / "ibdra/ibdra-hook"}).items()
    return [str(word) for pair in words for word in pair]


@pytest.fixture(name="left")
def _left(tmp_path: Path) -> Path:
    for name in (
        "cdi/ib.sigs.k8s.io_0f6b.json",
        "state/.x.tmp",
        "run/hook.sock",
        "ibdra/ibdra-hook",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return tmp_path


def test_a_node_without_the_driver_is_done(tmp_path: Path) -> None:
    """Nothing to do is a success, and not even a folder is made."""
    for words in ((), ("--dry-run",)):
        ran = run("cleanup", *places(tmp_path), *words)
        assert (0, "") == (ran.code, ran.err)
        assert "nothing of the driver is" in ran.out
    assert [] == list(tmp_path.iterdir())


def test_a_dry_run_lists_what_a_run_removes(left: Path) -> None:
    """And removes nothing of it."""
    before = sorted(left.rglob("*"))
    dry = run("cleanup", *places(left), "--dry-run")
    assert 0 == dry.code
    assert "would remove the CDI spec of 0f6b, which has no record" in dry.out
    assert f"would remove {left}/run/hook.sock" in dry.out
    assert before == sorted(left.rglob("*"))
    ran = run("cleanup", *places(left))
    assert (0, "") == (ran.code, ran.err)
    assert f"removed {left}/run/hook.sock" in ran.out
    assert [left / "cdi"] == sorted(left.rglob("*"))


def test_json_has_what_was_done_and_what_is_left(left: Path) -> None:
    """In both forms: the plan's, and the run's."""
    dry = run("cleanup", *places(left), "--dry-run", "-o", "json")
    assert [] == dry.json["in_the_way"]
    assert dry.json["steps"]
    ran = run("cleanup", *places(left), "-o", "json")
    assert (0, []) == (ran.code, ran.json["left"])
    assert ran.json["done"]


def test_what_is_in_the_way_is_exit_1(left: Path) -> None:
    """A record that nobody can read goes by force only."""
    (left / "state/0f6b.corrupt").write_text("?")
    assert 1 == run("cleanup", *places(left), "--dry-run").code
    ran = run("cleanup", *places(left))
    assert 1 == ran.code
    assert "left: claim 0f6b, whose record was set aside as corrupt" in ran.out
    assert 0 == run("cleanup", *places(left), "--force").code
    assert [left / "cdi"] == sorted(left.rglob("*"))


def test_a_running_daemon_is_exit_2(left: Path) -> None:
    """It could not even try."""
    instance = left / "run/instances/00000000000000000001-00000000"
    instance.parent.mkdir()
    with instance.open("w") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        ran = run("cleanup", *places(left), "--force")
    assert (2, "") == (ran.code, ran.out)
    assert "the driver's daemon runs on this node: stop it first" in ran.err


def test_a_kubeconfig_means_slices_too(left: Path) -> None:
    """One that leads nowhere fails before anything is touched; --no-slices does without."""
    config = left / "config"
    config.write_text("{}")
    before = sorted(left.rglob("*"))
    ran = run("cleanup", *places(left), "--kubeconfig", config)
    assert 2 == ran.code
    assert "there is no way to the API server" in ran.err
    assert before == sorted(left.rglob("*"))
    assert 0 == run("cleanup", *places(left), "--kubeconfig", config, "--no-slices").code
