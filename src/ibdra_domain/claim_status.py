"""A claim's record and the interfaces in its pod -> what its status says about our devices.

Why: ``kubectl get resourceclaim -o yaml`` is where people look first.  It says which
interface a device became, and if it did not become one, why not.  A device that is only
prepared says nothing yet: its container has not started.

Source: ``resource/v1`` ``AllocatedDeviceStatus``, ``NetworkDeviceData``; KEP-4817.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from ibdra_domain.hardware import RdmaIsolation
from ibdra_domain.kube_objects import (
    MAX_IPS_PER_DEVICE,
    AllocatedDeviceStatus,
    Condition,
    NetworkDeviceData,
)
from ibdra_domain.ports.netlink import Link
from ibdra_domain.preparation import PreparedPort
from ibdra_domain.publication import DRIVER_NAME
from ibdra_domain.records import ClaimRecord, Phase

READY = "Ready"
RDMA_READY = "RDMADeviceReady"
NETWORK_READY = "NetworkReady"
_MESSAGE_LIMIT = 4096


def device_statuses(
    record: ClaimRecord,
    *,
    links: Sequence[Link] = (),
    ips: Mapping[int, Sequence[str]] | None = None,
    failure: str | None = None,
    driver: str = DRIVER_NAME,
) -> tuple[AllocatedDeviceStatus, ...]:
    """Say how a claim's devices do; conditions have no times yet.

    Parameters
    ----------
    links, ips:
        The interfaces in the pod's network namespace, and their addresses (CIDR) by index.
    failure:
        Why the last attach failed, if it did.
    """
    attached = record.attachment is not None and record.attachment.phase is Phase.DONE
    found = []
    for port in record.prepared.ports:
        network: NetworkDeviceData | None = None
        conditions: tuple[Condition, ...]
        if port.admin:
            conditions = (_condition(READY, "AdminAccess", "the device stays on the host"),)
        elif record.on_host_network:
            conditions = (_condition(READY, "HostNetwork", "the pod is on the host's network"),)
        elif attached:
            interface = interface_of(port, links)
            if interface is not None:
                network = _network(interface, (ips or {}).get(interface.index, ()))
            conditions = _attached(port, interface)
        elif failure is not None:
            conditions = (_condition(READY, "AttachFailed", failure, good=False),)
        else:
            continue
        found.append(
            AllocatedDeviceStatus(
                driver=driver,
                pool=record.prepared.pool,
                device=port.device.name,
                share_id=port.share_id,
                conditions=conditions,
                network_data=network,
            )
        )
    return tuple(found)


def interface_of(port: PreparedPort, links: Iterable[Link]) -> Link | None:
    """Find a port's interface in its pod: its pkey child, if it has one."""
    every = tuple(links)
    own = next(
        (
            link
            for link in every
            if link.parent is None
            and link.port_guid is not None
            and link.port_guid == port.device.netdev_guid
        ),
        None,
    )
    if own is None or port.child_pkey is None:
        return own
    children = (link for link in every if link.parent == own.index)
    return next((link for link in children if link.pkey == port.child_pkey), None)


def with_times(
    wanted: Sequence[AllocatedDeviceStatus],
    there: Sequence[AllocatedDeviceStatus],
    *,
    now: str,
) -> tuple[AllocatedDeviceStatus, ...]:
    """Date the conditions: one that says what it said before keeps its time."""
    times = {
        (one.pool, one.device, one.share_id, c.type, c.status): c.last_transition_time
        for one in there
        for c in one.conditions or ()
    }
    return tuple(
        replace(
            one,
            conditions=tuple(
                replace(
                    c,
                    last_transition_time=times.get(
                        (one.pool, one.device, one.share_id, c.type, c.status), now
                    ),
                )
                for c in one.conditions or ()
            ),
        )
        for one in wanted
    )


def _attached(port: PreparedPort, interface: Link | None) -> tuple[Condition, ...]:
    shared = port.device.isolation is RdmaIsolation.SHARED
    rdma = _condition(
        RDMA_READY,
        "Shared" if shared else "Moved",
        f"{port.device.rdma_device} "
        + ("can be used in every namespace" if shared else "is in the pod's namespace"),
    )
    if port.device.netdev is None:
        network = _condition(
            NETWORK_READY, "NoInterface", "the port has no IPoIB interface", good=False
        )
        return (_condition(READY, "Attached", "the device is in the pod"), rdma, network)
    if interface is None or not interface.up:
        name = port.device.netdev if interface is None else interface.name
        problem = f"interface {name} is {'not there' if interface is None else 'down'}"
        return (
            _condition(READY, "NetworkNotReady", problem, good=False),
            rdma,
            _condition(NETWORK_READY, "InterfaceDown", problem, good=False),
        )
    up = f"interface {interface.name} is up"
    return (
        _condition(READY, "Attached", "the device is in the pod"),
        rdma,
        _condition(NETWORK_READY, "InterfaceUp", up),
    )


def _network(link: Link, ips: Sequence[str]) -> NetworkDeviceData:
    return NetworkDeviceData(
        interface_name=link.name,
        hardware_address=link.address,
        ips=tuple(ips[:MAX_IPS_PER_DEVICE]),
    )


def _condition(kind: str, reason: str, message: str, *, good: bool = True) -> Condition:
    return Condition(
        type=kind,
        status="True" if good else "False",
        reason=reason,
        message=message[:_MESSAGE_LIMIT],
    )
