"""What the fake has beyond the port: control over the machine."""

from __future__ import annotations

import errno

from contract.verbs.verbs_machines import DUAL_PORT, ETHERNET, HCAS, HDR_PORT
from ibdra_adapters.verbs.fake import FakeVerbs
from ibdra_domain.hardware import VerbsReading


def test_accept_takes_every_refusal_back() -> None:
    """After accept, the machine answers as if it never had refused."""
    verbs = FakeVerbs(HCAS)
    verbs.refuse_list(errno=errno.EPERM)
    verbs.refuse_open("mlx5_2")
    verbs.refuse_port("mlx5_0", 1)
    verbs.refuse_gid("mlx5_0", 2)
    verbs.accept()
    assert VerbsReading(hcas=HCAS) == verbs.read()


def test_put_changes_a_device_where_it_stands() -> None:
    """A changed HCA keeps its place in the list, as a relink does."""
    verbs = FakeVerbs([DUAL_PORT, ETHERNET])
    changed = type(DUAL_PORT)(name=DUAL_PORT.name, ports=(HDR_PORT,))
    verbs.put(changed)
    assert (changed, ETHERNET) == verbs.read().hcas


def test_removing_what_is_not_there_is_no_error() -> None:
    """A device may have gone before somebody takes it away."""
    verbs = FakeVerbs()
    verbs.remove("mlx5_0")
    assert VerbsReading() == verbs.read()
