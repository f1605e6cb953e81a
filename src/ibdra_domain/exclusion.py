"""Which devices exclude each other, as counters that the scheduler can count (D9).

Why: a PF and its VFs, and the ports of one function, are the same silicon.  A scheduler
that does not know gives them to different pods, and the later pod hangs until the first
has ended.  One counter a PF says it all: a VF's port takes one of it, a PF's port all.  The
check at prepare (:func:`ibdra_domain.preparation.shares_hardware`) stays in any case: an
API server that does not keep counters drops them without a word.

Source: ``resource/v1`` ``CounterSet``, ``DeviceCounterConsumption``; KEP-4815.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from ibdra_domain.identifiers import DeviceName, PciAddress, pci_sort_key
from ibdra_domain.inventory import IbDevice
from ibdra_domain.kube_objects import (
    MAX_COUNTERS_PER_SET,
    Counter,
    CounterSet,
    DeviceCounterConsumption,
)

FUNCTIONS = "functions"
"""The counter of a PF's functions: as many as it has VF ports, at least one."""


class Exclusion(msgspec.Struct, frozen=True, kw_only=True):
    """The counter sets of a node, and what each device takes of them."""

    sets: tuple[CounterSet, ...] = ()
    taken: Mapping[DeviceName, DeviceCounterConsumption] = {}


def counters_of(devices: Iterable[IbDevice]) -> Exclusion:
    """Count a node's devices; an HCA with one device excludes nothing and has no counter.

    A VF with several ports has a counter of its own beside its PF's, of which each port
    takes all.  A set holds 32 counters: with more such VFs the others' ports are told apart
    at prepare only.
    """
    hcas: defaultdict[PciAddress, list[IbDevice]] = defaultdict(list)
    for device in devices:
        hcas[device.hardware].append(device)
    sets: list[CounterSet] = []
    taken: dict[DeviceName, DeviceCounterConsumption] = {}
    for pf in sorted(hcas, key=pci_sort_key):
        if len(hcas[pf]) > 1:
            counter_set, consumed = _counted(pf, hcas[pf])
            sets.append(counter_set)
            taken |= consumed
    return Exclusion(sets=tuple(sets), taken=taken)


def _counted(
    pf: PciAddress, devices: Sequence[IbDevice]
) -> tuple[CounterSet, dict[DeviceName, DeviceCounterConsumption]]:
    name = f"hca-{pf.replace(':', '-').replace('.', '-')}"
    ports: defaultdict[PciAddress, list[IbDevice]] = defaultdict(list)
    for device in devices:
        ports[device.pci].append(device)
    whole = max(1, sum(len(found) for function, found in ports.items() if function != pf))
    several = [f for f in sorted(ports, key=pci_sort_key) if f != pf and len(ports[f]) > 1]
    own = {f: f"vf-{f[-7:].replace(':', '-').replace('.', '-')}" for f in several}
    own = dict(list(own.items())[: MAX_COUNTERS_PER_SET - 1])
    counters = {FUNCTIONS: Counter(value=str(whole))} | {
        n: Counter(value="1") for n in own.values()
    }
    taken = {}
    for device in devices:
        share = {FUNCTIONS: Counter(value=str(whole) if device.pci == pf else "1")}
        if device.pci in own:
            share[own[device.pci]] = Counter(value="1")
        taken[device.name] = DeviceCounterConsumption(counter_set=name, counters=share)
    return CounterSet(name=name, counters=counters), taken
