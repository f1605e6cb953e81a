"""What runs in the guest when nothing else is asked for: ``make test-node``.

A test file or folder a line, in the order they run.  Each leaves the node as it was when
it had booted: two PFs bound, no VFs, no namespace but the host's, the mode it booted in.
Of a suite only what is ``real`` runs here, on the guest's kernel; its fakes, and what holds
on a fake only (two ports on one HCA, say), run on the host.
"""

from __future__ import annotations

# .gitattributes merges this file line by line: a line that is added needs no neighbour's leave.
IN_GUEST = (
    "-mreal",
    "tests/contract/virtual_node/guest_tests",
    "tests/contract/netlink/test_netlink_contract.py",
    "tests/contract/netlink/test_netlink_deaths.py",
    "tests/contract/netlink/test_netlink_moves.py",
    "tests/contract/netlink/test_netlink_pkeys.py",
    "tests/contract/netlink/test_netlink_shared.py",
    "tests/contract/sysfs/test_sysfs_contract.py",
    "tests/contract/verbs/test_verbs_contract.py",
    "tests/contract/verbs/test_verbs_events.py",
    "tests/contract/sriov/test_sriov_contract.py",
    "tests/contract/sriov/test_provisioning_contract.py",
)
