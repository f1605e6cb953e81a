"""``ibdra provision``: what it says, what it does, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unit.cli.cli_runs import PROFILES, run

HPC = ("--simulate", "hpc-hdr100-dual-port")


def results(*arguments: str | Path) -> tuple[int, list[list[str]]]:
    """Run it; give the exit code and the table's rows."""
    ran = run("provision", *HPC, *arguments)
    rows = [line.split() for line in ran.out.splitlines() if line.startswith("0000:")]
    return ran.code, [row for row in rows if "(" not in row[1]]


@pytest.mark.parametrize("profile", PROFILES)
def test_without_a_number_nothing_is_touched(profile: str) -> None:
    """On any machine; in a VM there is no PF, which is no failure."""
    ran = run("provision", "--simulate", profile)
    assert (0, "") == (ran.code, ran.err)
    assert "done" not in ran.out
    assert ("azure" in profile) == ("no PF with SR-IOV" in ran.out)


def test_ethernet_is_left_and_the_rest_is_ready() -> None:
    """A DGX H100 as the profile has it: 8 PFs with 4 VFs, 2 Ethernet ones."""
    ran = run("provision", "--simulate", "dgx-h100", "--num-vfs", "4")
    assert 0 == ran.code
    assert (8, 2) == (ran.out.count(" ready"), ran.out.count(" left"))
    named = run("provision", "--simulate", "dgx-h100", "--pf", "mlx5_7=4", "--num-vfs", "4")
    assert (1, 1) == (named.code, named.out.count(" refused"))
    assert "its port is Ethernet" in named.out


def test_vfs_are_made_where_there_are_none() -> None:
    """The PF that has its four is ready."""
    assert (
        0,
        [
            ["0000:3b:00.0", "mlx5_0", "4", "8", "4", "--num-vfs", "ready"],
            ["0000:d8:00.0", "mlx5_1", "0", "8", "4", "--num-vfs", "done"],
        ],
    ) == results("--num-vfs", "4")


def test_what_is_refused_is_exit_1_with_and_without_dry_run() -> None:
    """And the other PF gets its VFs all the same."""
    for arguments, last in ((("--dry-run",), "steps"), ((), "done")):
        code, rows = results("--num-vfs", "8", *arguments)
        assert (1, ["refused", last]) == (code, [row[-1] for row in rows])


def test_an_override_that_fits_nothing_is_exit_1() -> None:
    """A typing error must not pass for success."""
    ran = run("provision", *HPC, "--pf", "mlx5_7=2")
    assert 1 == ran.code
    assert "--pf mlx5_7=2: fits no PF with SR-IOV of this node" in ran.out


def test_a_dry_run_lists_every_step() -> None:
    """12 for two VFs, in words."""
    ran = run("provision", *HPC, "--pf", "mlx5_1=2", "--dry-run")
    steps = [line for line in ran.out.splitlines() if line.startswith("0000:d8:00.0 (mlx5_1): ")]
    assert (0, 12) == (ran.code, len(steps))
    assert steps[0].endswith("turn driver autoprobe off")


def test_json_has_the_plan_and_what_became_of_it() -> None:
    """One entry a PF; steps are tagged values."""
    ran = run("provision", *HPC, "--pf", "mlx5_1=1", "-o", "json")
    assert 0 == ran.code
    _, done = ran.json["pfs"]
    assert (None, "change", "--pf mlx5_1=1") == (
        done["error"],
        done["plan"]["verdict"],
        done["plan"]["chosen_by"],
    )
    assert "SetNumVfs" == done["plan"]["steps"][1]["type"]
    assert [] == ran.json["unmatched"]


def test_the_files_guids_are_used(tmp_path: Path) -> None:
    """VF 1 has the file's, VF 0 the derived one."""
    file = tmp_path / "guids.toml"
    file.write_text('["0000:d8:00.0"]\n1 = "02aa:0000:0000:0001"\n')
    ran = run("provision", *HPC, "--pf", "mlx5_1=2", "--guids", file, "-o", "json")
    steps = json.loads(ran.out)["pfs"][1]["plan"]["steps"]
    guids = [step["guid"] for step in steps if step["type"] == "SetVfNodeGuid"]
    assert ["0e42:a103:0121:5b80", "02aa:0000:0000:0001"] == guids


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('["0000:d8:00.0"]\n0 = "0000:0000:0000:0000"\n', "guids.toml:2: "),
        (None, "cannot be read"),
    ],
)
def test_a_bad_file_is_exit_2(tmp_path: Path, content: str | None, complaint: str) -> None:
    """Before anything is looked at."""
    file = tmp_path / "guids.toml"
    if content is not None:
        file.write_text(content)
    ran = run("provision", *HPC, "--num-vfs", "4", "--guids", file)
    assert (2, "") == (ran.code, ran.out)
    assert complaint in ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--num-vfs", "-1"],
        ["--num-vfs", "65536"],
        ["--pf", "mlx5_0"],
        ["--pf", "mlx5_0=x"],
        ["--pf", "=4"],
        ["--pf", "mlx5_0=65536"],
    ],
    ids=" ".join,
)
def test_numbers_that_cannot_be_are_exit_2(arguments: list[str]) -> None:
    """Click says what is wrong with them."""
    ran = run("provision", *HPC, *arguments)
    assert (2, "") == (ran.code, ran.out)
    assert "Invalid value" in ran.err
