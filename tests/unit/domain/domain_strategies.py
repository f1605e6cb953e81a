"""Hypothesis strategies for domain values.

Why: several modules' properties speak of the same things (addresses, labels, JSON), and
each has corners that plain random text would hardly ever reach.
"""

from __future__ import annotations

from hypothesis import strategies as st

from ibdra_domain.identifiers import PciAddress


def pci_address(domain: int, bus: int, slot: int, function: int) -> PciAddress:
    """Write an address as the kernel does."""
    return PciAddress(f"{domain:04x}:{bus:02x}:{slot:02x}.{function}")


pci_numbers = st.tuples(
    st.one_of(st.integers(0, 0x11), st.integers(0, 0xFFFFFFFF)),
    st.integers(0, 0xFF),
    st.integers(0, 0x1F),
    st.integers(0, 7),
)
pci_addresses = pci_numbers.map(lambda n: pci_address(*n))

dns_labels = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)

# Names made to collide once '-' has become '_' and several devices are numbered.
_tricky = st.lists(
    st.sampled_from(["a", "0", "1", "pkey", "index", "port", "pci", "ibdev", "", "mtu"]),
    min_size=1,
    max_size=4,
).map(lambda parts: "-".join(["a", *parts, "0"]))
tricky_labels = st.one_of(
    st.sampled_from(
        ["a", "a-0", "a-1", "a-0-0", "a-0-1", "a-1-0", "a-pkey", "a-pkey-0", "a-port", "a--0", "0"]
    ),
    _tricky,
)
request_names = st.lists(st.one_of(tricky_labels, dns_labels), max_size=32)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
