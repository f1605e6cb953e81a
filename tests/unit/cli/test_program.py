"""The program as a whole: its commands, its options, what it imports and how it fails."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from ibdra_app.cli import cli
from unit.cli.cli_runs import EXAMPLES, TREES, modules_of, run, run_fresh

COMMANDS = sorted(cli.list_commands(cli.make_context("ibdra", [], resilient_parsing=True)))
TREE = TREES / "hpc-hdr100-splitter"
CLIENTS = {
    "_cffi_backend",
    "cel_expr_python",
    "dependency_injector",
    "google.protobuf",
    "grpc",
    "kubernetes",
    "pyroute2",
    "urllib3",
}

CEL = {"cel_expr_python", "google.protobuf"}


def test_tells_its_version() -> None:
    """The version is the installed distribution's."""
    assert f"ibdra, version {version('ibdra')}\n" == run("--version").out


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_lists_every_command(option: str) -> None:
    """Each command stands there with a line that says what it is for."""
    ran = run(option)
    assert 0 == ran.code
    lines = [line.split(maxsplit=1) for line in ran.out.partition("Commands:")[2].splitlines()]
    listed = {line[0]: line[1] for line in lines if len(line) == 2}
    assert set(COMMANDS) <= listed.keys()
    assert {"demo", "devices", "match", "slices", "validate"} <= set(COMMANDS)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]], ids=["help", "version"])
def test_help_and_version_import_no_command(arguments: list[str]) -> None:
    """Listing the commands costs none of their imports."""
    loaded = modules_of(*arguments)
    assert not {f"ibdra_app.cli.{command.replace('-', '_')}" for command in COMMANDS} & loaded
    assert not (CLIENTS | {"rich", "yaml"}) & loaded


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    """In a process of its own, each command explains itself."""
    ran = run_fresh(command, "--help")
    assert (0, "") == (ran.code, ran.err)
    assert ran.out.startswith(f"Usage: ibdra {command} ")
    assert "--help" in ran.out


@pytest.mark.parametrize(
    ("arguments", "never"),
    [
        (["devices", "--sysfs-root", TREE, "-o", "json"], CLIENTS | {"rich", "yaml"}),
        (["devices", "--sysfs-root", TREE, "-o", "yaml"], CLIENTS | {"rich"}),
        (["devices", "--sysfs-root", TREE], CLIENTS | {"yaml"}),
        (["devices", "--simulate", "dgx-h100", "-o", "json"], CLIENTS | {"rich", "yaml"}),
        (["slices", "--sysfs-root", TREE], CLIENTS | {"rich"}),
        (["validate", EXAMPLES / "ib-test1.yaml"], (CLIENTS - CEL) | {"rich"}),
        (["match", EXAMPLES / "ib-test1.yaml", "--simulate", "dgx-h100"], CLIENTS - CEL),
    ],
    ids=["json", "yaml", "table", "simulated", "slices", "validate", "match"],
)
def test_commands_import_only_what_they_need(arguments: list[str | Path], never: set[str]) -> None:
    """A command that looks never pays for gRPC, Kubernetes' client or the composition root."""
    assert set() == never & modules_of(*arguments)


@pytest.mark.parametrize("command", ["devices", "slices"])
def test_libibverbs_is_not_asked_about_a_captured_tree(command: str) -> None:
    """With --sysfs-root the library of this machine would answer for another one."""
    loaded = modules_of(command, "--sysfs-root", TREE)
    assert not {name for name in loaded if "libibverbs" in name or name == "_cffi_backend"}


def test_libibverbs_is_asked_about_this_machine() -> None:
    """Without --sysfs-root it is this machine's library that knows."""
    program = (
        "import sys\nfrom ibdra_app.settings import Settings\n"
        "from ibdra_app.sources import discovering\n"
        "with discovering(Settings()):\n"
        "    assert 'ibdra_adapters.verbs.libibverbs' in sys.modules\n"
    )
    assert (0, "") == ((ran := run_fresh(program=program)).code, ran.err)


@pytest.mark.parametrize("command", ["devices", "slices"])
def test_a_tree_that_is_not_there_is_named(command: str) -> None:
    """The message on standard error names the path; exit 2 means: could not even try."""
    ran = run(command, "--sysfs-root", "/nonexistent")
    assert (2, "") == (ran.code, ran.out)
    assert ran.err.startswith("ibdra: /nonexistent")
    assert 1 == ran.err.count("\n")


@pytest.mark.parametrize("command", ["devices", "slices", "match"])
def test_two_machines_at_once_are_a_usage_error(command: str) -> None:
    """--sysfs-root and --simulate exclude each other."""
    arguments = [EXAMPLES / "ib-test1.yaml"] if command == "match" else []
    ran = run(command, *arguments, "--sysfs-root", TREE, "--simulate", "dgx-h100")
    assert (2, "") == (ran.code, ran.out)
    assert "--sysfs-root and --simulate are two machines" in ran.err


@pytest.mark.parametrize("command", ["devices", "slices", "demo"])
def test_an_unknown_profile_names_the_known_ones(command: str) -> None:
    """The remedy is a list to choose from."""
    ran = run(command, "--simulate", "my-laptop")
    assert (2, "") == (ran.code, ran.out)
    assert "there is no machine profile 'my-laptop'" in ran.err
    assert "azure-nd-h100-v5, dgx-h100, hpc-hdr100-dual-port" in ran.err


def test_a_profile_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    """A file of one's own is read with the same strictness, and its path is in the message."""
    profile = tmp_path / "mine.toml"
    profile.write_text('description = "x"\nhcas = 5\n', encoding="utf-8")
    ran = run("devices", "--simulate", profile)
    assert (2, "") == (ran.code, ran.out)
    assert f"profile {profile} cannot be read" in ran.err


@pytest.mark.parametrize("arguments", [["nonsense"], ["devices", "--nonsense"], ["validate"]])
def test_what_it_does_not_know_is_a_usage_error(arguments: list[str]) -> None:
    """Unknown commands and options, and missing arguments, exit 2 with the usage."""
    ran = run(*arguments)
    assert (2, "") == (ran.code, ran.out)
    assert ran.err.startswith("Usage: ")
