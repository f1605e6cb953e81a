"""``ibdra doctor``: what it prints, how it ends, and what it does not import."""

from __future__ import annotations

from pathlib import Path

import pytest

from unit.cli.cli_runs import PROFILES, TREES, modules_of, run

HPC = ("--simulate", "hpc-hdr100-dual-port")


@pytest.mark.parametrize("profile", PROFILES)
def test_the_shipped_machines_are_fit(profile: str) -> None:
    """On a simulated machine hardware alone is looked at."""
    ran = run("doctor", "--simulate", profile)
    assert (0, "") == (ran.code, ran.err)
    assert ran.out.splitlines()[-1].startswith("fit: 0 errors, ")
    assert "files and processes are not looked at" in ran.out


def test_an_error_is_exit_1_with_its_remedy() -> None:
    """In the table's first column and below it in words."""
    ran = run("doctor", *HPC, "--rdma-isolation", "shared", "--num-vfs", "2")
    assert 1 == ran.code
    assert ran.out.splitlines()[-1].startswith("not fit: ")
    assert "error: shared is demanded, the mode is exclusive" in ran.out
    assert "options ib_core netns_mode=1" in ran.out


def test_json_has_every_finding() -> None:
    """With the same verdict as the exit code."""
    ran = run("doctor", *HPC, "-o", "json", "--pf", "mlx5_9=1")
    assert (1, False) == (ran.code, ran.json["fit"])
    (bad,) = [f for f in ran.json["findings"] if f["grade"] == "error"]
    assert {"check", "subject", "grade", "problem", "remedy"} == bad.keys()
    assert "--pf mlx5_9=1 fits no PF with SR-IOV of this node" == bad["problem"]


@pytest.mark.parametrize("tree", sorted(p.name for p in TREES.iterdir() if p.is_dir()))
def test_every_captured_machine_can_be_examined(tree: str) -> None:
    """Garbage too: a verdict, never a crash."""
    ran = run("doctor", "--sysfs-root", TREES / tree)
    assert ran.code in (0, 1)
    assert "could not be looked at" not in ran.out
    assert ran.out.splitlines()[-1].startswith(("fit: ", "not fit: "))


def test_a_tree_that_is_not_there_is_one_error() -> None:
    """Said once, though many looks need it."""
    ran = run("doctor", "--sysfs-root", "/nonexistent")
    assert 1 == ran.code
    assert 1 == ran.out.count("error: /nonexistent cannot be read")


def test_this_machine_is_looked_at_and_left(tmp_path: Path) -> None:
    """Whatever it is, there is a verdict, and its folders are as they were."""
    places = ("kubelet", "cdi", "state", "run")
    words = [str(w) for name in places for w in (f"--{name}-dir", tmp_path / name)]
    ran = run("doctor", *words, "--hook", tmp_path / "hook")
    assert ran.code in (0, 1)
    assert f"{tmp_path}/kubelet is missing: the kubelet does not find the driver" in ran.out
    assert "could not be looked at" not in ran.out
    assert [] == list(tmp_path.iterdir())


def test_it_imports_only_what_it_needs() -> None:
    """Neither gRPC nor the composition root, nor Kubernetes' client where none is asked."""
    loaded = modules_of("doctor", *HPC, "-o", "json")
    assert not {"grpc", "kubernetes", "dependency_injector", "rich", "yaml"} & loaded


def test_two_machines_at_once_are_a_usage_error() -> None:
    """As for the other commands that look."""
    ran = run("doctor", *HPC, "--sysfs-root", "/sys")
    assert (2, "") == (ran.code, ran.out)


def test_a_kubeconfig_that_leads_nowhere_is_an_error(tmp_path: Path) -> None:
    """One finding about the API server; the rest is looked at."""
    config = tmp_path / "config"
    config.write_text("{}")
    ran = run("doctor", *HPC, "--kubeconfig", config)
    assert 1 == ran.code
    assert "error: there is no way to the API server in" in ran.out
