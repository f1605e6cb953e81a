"""Which GUID each VF of a PF gets: one that nobody else on the node has.

Why: two ports of one GUID in a fabric are one to the subnet manager, and both lose their
traffic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ibdra_domain.errors import InvalidIdentifier
from ibdra_domain.identifiers import ZERO_GUID, Guid
from ibdra_domain.pf_views import PfView, VfView
from ibdra_domain.vf_guids import derived_guid
from ibdra_domain.vf_wishes import WantedVfs


class PfRefused(Exception):
    """The reason why a PF must not be touched; a plan has it, nobody else sees it."""


def intended_guids(vf: VfView) -> tuple[Guid, Guid]:
    """Give the node and port GUID a VF has or would have once bound; zero is none."""
    told = vf.settings
    node, port = (told.node_guid, told.port_guid) if told is not None else (None, None)
    return (
        _first(vf.node_guid, node),
        _first(vf.port_guid, port),
    )


def _first(*guids: Guid | None) -> Guid:
    return next((guid for guid in guids if guid is not None and guid != ZERO_GUID), ZERO_GUID)


def guids_of(vf: VfView) -> tuple[Guid, ...]:
    """Give the GUIDs that a VF has or would have."""
    return tuple(guid for guid in intended_guids(vf) if guid != ZERO_GUID)


def choose_guids(
    pf: PfView, vfs: Iterable[int], wanted: WantedVfs, taken: dict[Guid, str]
) -> Mapping[int, Guid]:
    """Choose a GUID for each VF, none of which anybody else on this node has or gets."""
    chosen: dict[Guid, int] = {}
    for vf in vfs:
        guid = wanted.guids.of(pf.address, vf)
        if guid is None:
            if pf.port_guid is None:
                raise PfRefused("its port GUID, from which its VFs' are derived, is unknown")
            try:
                guid = derived_guid(pf.port_guid, vf)
            except InvalidIdentifier as error:
                raise PfRefused(f"{error}") from error
        other = f"VF {chosen[guid]}" if guid in chosen else taken.get(guid)
        if other not in (None, vf_name(pf, vf)):
            raise PfRefused(
                f"VF {vf} would get GUID {guid}, which {other} has too; give it another in the "
                "GUID file"
            )
        chosen[guid] = vf
    taken |= {guid: vf_name(pf, vf) for guid, vf in chosen.items()}
    return {vf: guid for guid, vf in chosen.items()}


def vf_name(pf: PfView, vf: int) -> str:
    """Name a VF for people."""
    return f"VF {vf} of {pf.address}"
