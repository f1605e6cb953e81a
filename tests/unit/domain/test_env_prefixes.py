"""Names of variables: built from what a user wrote, and never two alike."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given

from ibdra_domain.container_edits import env_prefixes, port_environment
from ibdra_domain.ib_config import IbConfig
from unit.domain.domain_facts import TENANT_PKEY, a_port
from unit.domain.domain_strategies import request_names

# A port about which everything there is to say is said.
TALKATIVE = a_port(
    admin=True, config=IbConfig(pkey=TENANT_PKEY, traffic_class=1, mtu=256), pkey_index=1
)
QUIET = a_port(config=IbConfig(pkey=TENANT_PKEY, traffic_class=1, mtu=256), pkey_index=1)
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


@pytest.mark.parametrize(
    ("requests", "endings"),
    [
        ([], []),
        (["hca"], ["HCA"]),
        (["my-hca"], ["MY_HCA"]),
        (["a", "b"], ["A", "B"]),
        (["a", "a"], ["A_0", "A_1"]),
        (["a", "b", "a"], ["A_0", "B", "A_1"]),
        (["a", "a", "a-1"], ["A_0", "A_1", "A_1_0"]),
        (["a-1", "a", "a"], ["A_1_0", "A_0", "A_1"]),
        (["a", "a", "a-2"], ["A_0", "A_1", "A_2"]),
        (["a", "a-0"], ["A", "A_0"]),
        (["a", "a", "a-0", "a-0-0"], ["A_0", "A_1", "A_0_0", "A_0_0_0"]),
    ],
)
def test_prefixes_follow_the_requests(requests: list[str], endings: list[str]) -> None:
    """Numbered where there are several, or where a number would be taken for another's."""
    assert tuple(f"IB_DEVICE_{e}" for e in endings) == env_prefixes(requests)


@given(request_names)
@example(["a", "a", "a-0", "a-0", "a-0-0", "a-pkey", "a-pkey"])
def test_no_two_variables_are_alike(requests: list[str]) -> None:
    """Neither prefixes nor whole names clash, for any requests; all are shell variables."""
    prefixes = env_prefixes(requests)
    assert len(requests) == len(prefixes)
    assert len(prefixes) == len(set(prefixes))
    names = [n for p in prefixes for n in set().union(*_names(p))]
    assert len(names) == len(set(names))
    assert all(_VARIABLE.fullmatch(name) for name in names)


@given(request_names)
def test_prefixes_are_the_same_when_asked_again(requests: list[str]) -> None:
    """A restarted container finds its variables under the names it had."""
    assert env_prefixes(requests) == env_prefixes(tuple(requests))


def _names(prefix: str) -> list[set[str]]:
    return [set(port_environment(port, prefix=prefix)) for port in (TALKATIVE, QUIET)]
