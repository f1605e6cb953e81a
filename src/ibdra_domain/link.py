"""Port states, link layers and rates.

Why: ``linkSpeed`` is what people select by, and the obvious ways to compute it are wrong
(2X links, XDR beyond eight bits of ``active_speed``, SDR's half gigabits).  Sysfs' own
``rate`` line is the source where there is one; the codes of libibverbs are the other.
"""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec


class PortState(StrEnum):
    """Logical state of a port (IBA 1.7, 7.2; ``enum ibv_port_state``)."""

    DOWN = "Down"
    INIT = "Init"
    ARMED = "Armed"
    ACTIVE = "Active"
    ACTIVE_DEFER = "ActiveDefer"


class LinkLayer(StrEnum):
    """What the port speaks (``ports/N/link_layer``)."""

    INFINIBAND = "InfiniBand"
    ETHERNET = "Ethernet"


class Rate(msgspec.Struct, frozen=True):
    """The effective speed of a link.

    ``mbps`` is in megabits a second, signalling rate times lanes as ``rate`` in sysfs
    counts it; ``width`` is the number of lanes, 0 where unknown.
    """

    mbps: int
    width: int = 0

    @property
    def text(self) -> str:
        """``400Gb/s``, ``2.5Gb/s``."""
        return f"{self.mbps / 1000:g}Gb/s"

    @property
    def gbps(self) -> int:
        """Whole gigabits a second, rounded down, so that a CEL ``>=`` never flatters."""
        return self.mbps // 1000


_STATES = {
    1: PortState.DOWN,
    2: PortState.INIT,
    3: PortState.ARMED,
    4: PortState.ACTIVE,
    5: PortState.ACTIVE_DEFER,
}
_PHYSICAL_STATES = {
    1: "Sleep",
    2: "Polling",
    3: "Disabled",
    4: "PortConfigurationTraining",
    5: "LinkUp",
    6: "LinkErrorRecovery",
    7: "PhyTest",
}
# Lane rates in Mb/s by `active_speed` code: SDR DDR QDR FDR10 FDR EDR HDR NDR XDR
# (include/rdma/ib_verbs.h, enum ib_port_speed). 256 does not fit the eight bits of
# ibv_port_attr.active_speed and comes in active_speed_ex.
_LANE_MBPS = {
    1: 2500,
    2: 5000,
    4: 10000,
    8: 10000,
    16: 14000,
    32: 25000,
    64: 50000,
    128: 100000,
    256: 200000,
}
# Lanes by `active_width` code (enum ib_port_width): the codes are not the widths.
_LANES = {1: 1, 16: 2, 2: 4, 4: 8, 8: 12}

_RATE = re.compile(r"(\d{1,6})(?:\.(\d))?\d*\s*Gb/sec\s*(?:\(\s*(\d{1,2})X\b.*\))?\s*\Z")
_NUMBERED = re.compile(r"(\d{1,2})\s*:")


def parse_rate(text: str) -> Rate | None:
    """Read sysfs' ``rate``: ``100 Gb/sec (2X HDR)``.  None if it is not one, or is zero."""
    match = _RATE.match(text.strip())
    if match is None:
        return None
    mbps = int(match[1]) * 1000 + int(match[2] or 0) * 100
    return Rate(mbps, int(match[3] or 0)) if mbps else None


def rate_from_codes(speed: int, width: int) -> Rate | None:
    """Multiply libibverbs' speed and width codes out.  None where either is unknown."""
    lane, lanes = _LANE_MBPS.get(speed), _LANES.get(width)
    return Rate(lane * lanes, lanes) if lane and lanes else None


def parse_port_state(text: str) -> PortState | None:
    """Read sysfs' ``state``: ``4: ACTIVE``.  None for NOP and anything unknown."""
    match = _NUMBERED.match(text)
    return _STATES.get(int(match[1])) if match else None


def port_state_from_code(code: int) -> PortState | None:
    """Name ``enum ibv_port_state``; None for NOP and anything unknown."""
    return _STATES.get(code)


def parse_physical_state(text: str) -> str | None:
    """Read sysfs' ``phys_state``: ``5: LinkUp``.  None if the number is unknown."""
    match = _NUMBERED.match(text)
    return _PHYSICAL_STATES.get(int(match[1])) if match else None


def physical_state_from_code(code: int) -> str | None:
    """Name the PortInfo.PortPhysicalState code; None if unknown."""
    return _PHYSICAL_STATES.get(code)


def mtu_from_code(code: int) -> int | None:
    """Give the bytes of ``enum ibv_mtu``: 1 is 256, 5 is 4096.  None if unknown."""
    return 128 << code if 1 <= code <= 5 else None


IB_MTUS = (256, 512, 1024, 2048, 4096)
IPOIB_HEADER = 4
"""IPoIB's encapsulation header in datagram mode (RFC 4391, 6)."""
