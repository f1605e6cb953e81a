"""The machine's RDMA isolation mode: what the operator demands against what is there (D6).

Why: exclusive mode is what keeps one tenant off another's HCA, and the kernel grants it
only at boot or while no pod runs.  A driver that went on without it would be a lie in
every slice it publishes.
"""

from __future__ import annotations

import logging

from ibdra_domain.errors import IsolationRefused, KernelRefused
from ibdra_domain.hardware import IsolationDemand, RdmaIsolation
from ibdra_domain.ports.netlink import RdmaDevices

_log = logging.getLogger(__name__)

_PARAMETER = {RdmaIsolation.EXCLUSIVE: 0, RdmaIsolation.SHARED: 1}


def ensure_isolation(demand: IsolationDemand, rdma: RdmaDevices) -> RdmaIsolation:
    """Give the mode there is; switch it first if another one is demanded.

    Raises IsolationRefused if the kernel does not switch, KernelRefused if it does not
    tell its mode.
    """
    now = rdma.isolation()
    wanted = demand.mode
    if wanted is None or wanted is now:
        _log.info("RDMA isolation: %s", now)
        return now
    try:
        rdma.set_isolation(wanted)
    except KernelRefused as error:
        raise IsolationRefused(
            f"RDMA isolation is {now}, {wanted} is demanded, and the kernel does not switch now "
            f"({error.problem})",
            remedy=f"write `options ib_core netns_mode={_PARAMETER[wanted]}` to /etc/modprobe.d, "
            "rebuild the initramfs and reboot, or run the driver with --rdma-isolation=auto",
        ) from error
    _log.warning("RDMA isolation switched from %s to %s", now, wanted)
    return wanted
