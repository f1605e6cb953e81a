"""The vocabulary of provisioning plans.

Why: a plan is a value that can be printed before anything is done; whoever carries it out
needs these words and none of the reasons for them.  There is no word for taking a VF away.

VFs are named by their PF and index: their addresses are known only once they are there.
"""

from __future__ import annotations

import msgspec

from ibdra_domain.identifiers import Guid
from ibdra_domain.ports.sriov import VfLinkState


class SetAutoprobe(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Say whether drivers bind to the PF's VFs."""

    enabled: bool

    def __str__(self) -> str:
        return f"turn driver autoprobe {'on' if self.enabled else 'off'}"


class SetNumVfs(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Make so many VFs where there are none."""

    count: int

    def __str__(self) -> str:
        return f"make {self.count} VFs"


class SetVfLinkState(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Say what a VF's port does."""

    vf: int
    state: VfLinkState

    def __str__(self) -> str:
        return f"VF {self.vf}: set link state {self.state}"


class SetVfNodeGuid(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Give a VF its node GUID."""

    vf: int
    guid: Guid

    def __str__(self) -> str:
        return f"VF {self.vf}: set node GUID {self.guid}"


class SetVfPortGuid(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Give a VF its port GUID."""

    vf: int
    guid: Guid

    def __str__(self) -> str:
        return f"VF {self.vf}: set port GUID {self.guid}"


class UnbindVf(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Unbind a VF that nobody uses, so that it takes its GUIDs when it is bound."""

    vf: int

    def __str__(self) -> str:
        return f"VF {self.vf}: unbind"


class BindVf(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Bind a VF to its PF's driver."""

    vf: int
    driver: str

    def __str__(self) -> str:
        return f"VF {self.vf}: bind to {self.driver}"


class VfIdentity(msgspec.Struct, frozen=True):
    """Who a VF is to be."""

    vf: int
    node_guid: Guid
    port_guid: Guid


class AwaitVfs(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Wait for the VFs' RDMA devices, interfaces and device nodes; see that the GUIDs fit."""

    vfs: tuple[VfIdentity, ...]

    def __str__(self) -> str:
        return f"wait for {len(self.vfs)} VFs and compare their GUIDs"


VfStep = (
    SetAutoprobe
    | SetNumVfs
    | SetVfLinkState
    | SetVfNodeGuid
    | SetVfPortGuid
    | UnbindVf
    | BindVf
    | AwaitVfs
)
