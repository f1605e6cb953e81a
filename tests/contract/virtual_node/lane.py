"""What runs in the guests when nothing else is asked for: ``make test-node``.

A test file or folder a line, in the order they run.  Each leaves the node as it was when
it had booted: two PFs bound, no VFs, no namespace but the host's, the mode it booted in.
Of a suite only what is ``real`` runs here, on the guest's kernel; its fakes, and what holds
on a fake only (two ports on one HCA, say), run on the host.

What kernels do differently runs on both.  The rest is divided between them, to keep the
lane short: what hardware shows and the daemon as a whole on the stable one, the demo, the
kills and shared mode on the newer.
"""

from __future__ import annotations

from contract.virtual_node.packages import Wanted

_OWN = "tests/contract/virtual_node/guest_tests"
_NETLINK = "tests/contract/netlink"

# .gitattributes merges this file line by line: a line that is added needs no neighbour's leave.
_BOTH = (
    "-mreal",
    f"{_OWN}/test_guest_stack.py",
    f"{_OWN}/test_guest_moves.py",
    f"{_NETLINK}/test_netlink_contract.py",
    f"{_NETLINK}/test_netlink_deaths.py",
    f"{_NETLINK}/test_netlink_moves.py",
    f"{_NETLINK}/test_netlink_pkeys.py",
)
IN_GUEST: dict[Wanted, tuple[str, ...]] = {
    "6.1": (
        *_BOTH,
        f"{_OWN}/test_guest_adapters.py",
        f"{_OWN}/test_guest_health.py",
        f"{_OWN}/test_guest_run.py",
        f"{_OWN}/test_guest_doctor.py",
        f"{_OWN}/test_guest_cleanup.py",
        f"{_OWN}/test_guest_pages.py",
        "tests/contract/sysfs/test_sysfs_contract.py",
        "tests/contract/verbs/test_verbs_contract.py",
        "tests/contract/verbs/test_verbs_events.py",
        "tests/contract/sriov/test_sriov_contract.py",
        "tests/contract/sriov/test_provisioning_contract.py",
    ),
    "newer": (
        *_BOTH,
        # What is the same in both modes is asked in exclusive mode.
        "-knot kernel-shared or test_netlink_shared",
        f"{_OWN}/test_guest_adapters_exclusive.py",
        f"{_OWN}/test_guest_demo.py",
        f"{_OWN}/test_guest_devices.py",
        f"{_OWN}/test_guest_kills.py",
        f"{_NETLINK}/test_netlink_shared.py",
    ),
}
