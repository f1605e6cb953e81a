"""What the pages say is what the code does."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from ibdra_domain.hardware import HcaPort, RdmaIsolation
from ibdra_domain.ib_config import IbConfig
from ibdra_domain.identifiers import Gid, PciAddress, device_name, parse_guid
from ibdra_domain.inventory import FunctionType, IbDevice
from ibdra_domain.link import PortState, Rate
from ibdra_domain.publication import attributes_of
from unit.docs.pages import (
    PAGES,
    ROOT,
    Shown,
    anchors,
    blocks,
    is_a_message,
    links,
    same_but_for_dots,
    shown_commands,
)

RUN = "from ibdra_app.cli import main; main()"
# What a make target runs: its output is shown on the pages too.
TARGETS = {"make demo": "ibdra demo --simulate dgx-h100"}
ATTRIBUTES = ROOT / "docs/user/attributes.md"
IBCONFIG = ROOT / "docs/user/ibconfig.md"
_ROW = re.compile(r"^\| `([\w./]+)` \| (\w+) \|", re.MULTILINE)
_CHANGES_AT_EVERY_RUN = re.compile(r"net:\[\d+\]|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

COMMANDS = [
    shown
    for shown in shown_commands()
    if TARGETS.get(shown.command, shown.command).startswith("ibdra ")
]


def _arguments(command: str) -> list[str]:
    """Split as a shell does, with its ``*``."""
    words = shlex.split(TARGETS.get(command, command))[1:]
    return [
        str(found)
        for word in words
        for found in (
            sorted(p.relative_to(ROOT) for p in ROOT.glob(word)) if "*" in word else [word]
        )
    ]


@cache
def _run(command: str) -> tuple[int, list[str]]:
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    inherited = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "TTY_COMPATIBLE")}
    done = subprocess.run(
        [sys.executable, "-c", RUN, *_arguments(command)],
        cwd=ROOT,
        env=inherited | {"PYTHONPATH": path, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, [line.rstrip() for line in done.stdout.splitlines()]


@pytest.mark.parametrize("shown", COMMANDS, ids=str)
def test_shown_commands_do_what_the_page_says(shown: Shown) -> None:
    """A command on a page ends with the code it is said to, and prints what is shown."""
    code, real = _run(shown.command)
    assert (shown.exits, shown.command) == (code, shown.command), "\n".join(real)
    if shown.output:
        assert same_but_for_dots(shown.output, real), "\n".join(real)


def test_every_command_is_shown() -> None:
    """Each of the program's commands is shown at least once in the README."""
    code, real = _run("ibdra --help")
    names = [line.split()[0] for line in real[real.index("Commands:") + 1 :] if line[2:3] != " "]
    shown = {s.command.split()[1] for s in COMMANDS if s.page == ROOT / "README.md"} | {"demo"}
    assert code == 0
    assert names
    assert set(names) <= shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_shown_output_holds_nothing_that_changes(page: Path) -> None:
    """UIDs and namespace numbers are elided: the next reader has others."""
    for line, block in blocks(page, "console"):
        assert not _CHANGES_AT_EVERY_RUN.search("\n".join(block)), f"{page}:{line}"


def _every_attribute() -> dict[str, str | int]:
    pci = PciAddress("0000:3b:00.1")
    guid = parse_guid("0c42:a103:0021:5b40")
    device = IbDevice(
        name=device_name(pci, 1),
        pci=pci,
        port=1,
        function_type=FunctionType.VF,
        rdma_device="mlx5_1",
        link=HcaPort(
            number=1,
            state=PortState.ACTIVE,
            physical_state="LinkUp",
            link_layer="InfiniBand",
            rate=Rate(100_000, 2),
            lid=24,
            sm_lid=1,
            gid0=Gid(f"fe80:0000:0000:0000:{guid}"),
            active_mtu=4096,
        ),
        netdev="ib1",
        netdev_guid=guid,
        numa_node=0,
        pcie_root="pci0000:3a",
        node_guid=guid,
        firmware="20.39.1002",
        board_id="MT_0000000223",
        hca_type="MT4123",
        parent_pci=PciAddress("0000:3b:00.0"),
        parent_rdma_device="mlx5_0",
        vf_index=0,
        isolation=RdmaIsolation.EXCLUSIVE,
    )
    return attributes_of(device)


def test_attributes_page_lists_what_is_published() -> None:
    """The page has a row for every attribute, with its type, and for no other."""
    rows = dict(_ROW.findall(ATTRIBUTES.read_text(encoding="utf-8")))
    types = {n: "int" if isinstance(v, int) else "string" for n, v in _every_attribute().items()}
    assert types == rows


def test_ibconfig_page_lists_every_field() -> None:
    """The page has a row for every field of an IbConfig, as manifests spell it."""
    rows = dict(_ROW.findall(IBCONFIG.read_text(encoding="utf-8")))
    fields = {re.sub(r"_(\w)", lambda m: m[1].upper(), f) for f in IbConfig.__struct_fields__}
    assert dict.fromkeys(fields, "int") == rows


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """A link to a file or heading of this repository resolves."""
    for target, anchor in links(page):
        assert target.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(target), f"{page.name} links to {target.name}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_quoted_messages_are_the_programs_own(page: Path) -> None:
    """Each line of a ``text`` block is a message as the source writes it."""
    strangers = [line for _, block in blocks(page, "text") for line in block if line]
    assert [] == [line for line in strangers if not is_a_message(line)]


def test_every_page_is_in_the_index() -> None:
    """Nobody has to guess that a page exists."""
    index = ROOT / "docs/README.md"
    linked = {target for target, _ in links(index)}
    assert set(PAGES) - {index, ROOT / "README.md"} <= linked


@pytest.mark.parametrize(
    ("shown", "real", "same"),
    [
        (("a", "b"), ["a", "b"], True),
        (("a", "b"), ["a", "c"], False),
        (("a",), ["a", "b"], False),
        (("a", "...", "d"), ["a", "b", "c", "d"], True),
        (("...", "d"), ["d"], True),
        (("a", "..."), ["b", "a"], False),
        (("...", "b", "..."), ["a", "bb", "c"], False),
    ],
)
def test_dots_stand_for_lines(shown: tuple[str, ...], real: list[str], *, same: bool) -> None:
    """Three dots alone on a line stand for any lines, and for nothing less than a line."""
    assert same == same_but_for_dots(shown, real)


def test_a_made_up_message_is_noticed() -> None:
    """A text that the program never writes is not taken for one of its messages."""
    assert is_a_message("claim a/b (uid) is not prepared on this node: delete the pod; the kubelet "
                        "prepares its claims anew")  # fmt: skip
    assert not is_a_message("claim a/b (uid) is unwell: give it tea")


def test_the_attach_hooks_messages_are_known() -> None:
    """Those that the program on the host writes by itself, in C."""
    assert is_a_message("the ibdra daemon does not answer at /x (connection refused): start it, "
                        "the kubelet tries again")  # fmt: skip
    assert not is_a_message("the ibdra daemon is asleep at /x (connection refused): wake it")
