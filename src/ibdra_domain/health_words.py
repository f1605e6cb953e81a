"""What a device's health is called, for people.

Why: the kubelet puts these words into the pod's status and writes it whenever they change,
so they are made of what is told, never of a number that moves.
"""

from __future__ import annotations

from collections.abc import Sequence

from ibdra_domain.health import HEALTHY, OF_THE_PORT, UNKNOWN, WINDOW, Course, Reason
from ibdra_domain.inventory import IbDevice, Presence

_AWAY = "it is in a pod's network namespace, and this is how it was last seen"


def describe(course: Course, device: IbDevice, *, growing: Sequence[str] = ()) -> str:
    """Say what a person should know; nothing of a device that is well and at home.

    ``growing`` names the counters of its link that grow fast.
    """
    words = [_reason(course, device)] if course.told.reason or course.told == UNKNOWN else []
    if growing:
        words.append(
            f"the link has errors, {', '.join(growing)} grows fast: check cable and transceiver"
        )
    if device.presence is Presence.AWAY:
        words.append(_AWAY if words else f"no trouble is known; {_AWAY}")
    return "; ".join(words)


def _reason(course: Course, device: IbDevice) -> str:
    port = f"port {device.port} of {device.rdma_device}"
    shown = course.shown
    if course.told.reason in OF_THE_PORT and course.own == HEALTHY and course.seen != HEALTHY:
        return (
            f"the port of its PF {device.parent_rdma_device or device.parent_pci} is not "
            "Active: check cable, switch and subnet manager"
        )
    words: dict[Reason | None, str] = {
        Reason.GONE: f"PCI function {device.pci} has left the machine: look in the kernel's log, "
        "and whether the HCA is still seated",
        Reason.ZERO_GUID: f"{device.rdma_device} has a GUID of zero and cannot register memory: "
        "give the VF its GUIDs, as `ibdra provision` does",
        Reason.FLAPPING: f"{port} went down more than once in {WINDOW / 60:g} minutes: check "
        "cable and switch; it must stay as it is for up to a minute to be told anew",
        Reason.PORT_DOWN: f"{port} is Down (link: {shown.physical_state or 'unknown'}): check "
        "cable, switch and the PF's link",
        Reason.PORT_NOT_ACTIVE: f"{port} is {shown.state}: check that a subnet manager runs and "
        "sees it",
        None: f"the state of {port} cannot be read: look in the kernel's log",
    }
    return words[course.told.reason]
