"""IPoIB's broadcast group: no interface has a larger MTU than it, whatever it was asked for.

Why: what the kernel's ``ipoib_change_mtu`` and ``ipoib_mcast_carrier_on_task`` do.  It takes
a subnet manager to show it, so it is asked of the fake kernel only.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from contract.netlink.netlink_machines import refused_with
from ibdra_adapters.netlink.fake import FakeLinks, FakeNamespaces
from ibdra_adapters.netlink.fake_kernel import FakeKernel, FakePort
from ibdra_domain.identifiers import Guid, PciAddress
from ibdra_domain.ports.netlink import Link, Netns

PORT = FakePort(
    number=1, guid=Guid("a088:c203:0012:3456"), netdev="ib0", mtu=4096, broadcast_mtu=2048
)


@pytest.fixture
def kernel() -> FakeKernel:
    """Give a machine with a port at 4096, its interface up, on a fabric whose group has 2048."""
    kernel = FakeKernel()
    kernel.add_device("mlx5_0", pci=PciAddress("0000:3b:00.0"), ports=(PORT,))
    return kernel


@pytest.fixture
def links(kernel: FakeKernel) -> FakeLinks:
    """Give the port that is asked."""
    return FakeLinks(kernel)


@pytest.fixture
def host(kernel: FakeKernel) -> Iterator[Netns]:
    """Open the host's namespace."""
    opened = FakeNamespaces(kernel).host()
    yield opened
    opened.close()


def made_anew(kernel: FakeKernel, links: FakeLinks, host: Netns) -> Link:
    """Have the kernel make the interface anew, as each move of its device does."""
    pod = kernel.processes[kernel.start_process()]
    kernel.move_device("mlx5_0", source=kernel.init_netns, target=pod)
    (link,) = links.list(host)
    return link


def test_an_interface_that_has_joined_has_the_groups_mtu(links: FakeLinks, host: Netns) -> None:
    """That came up with the host, long ago."""
    (link,) = links.list(host)
    assert 2044 == link.mtu


def test_more_than_the_group_has_is_granted_and_not_given(links: FakeLinks, host: Netns) -> None:
    """No error; less than the group's is as asked, and more than the port's is EINVAL."""
    (link,) = links.list(host)
    links.configure(link.index, netns=host, mtu=4092)
    assert (link,) == links.list(host)
    links.configure(link.index, netns=host, mtu=1500)
    assert [1500] == [x.mtu for x in links.list(host)]
    with refused_with(errno.EINVAL):
        links.configure(link.index, netns=host, mtu=4093)


def test_a_new_interface_has_the_ports_mtu_until_it_joins(
    kernel: FakeKernel, links: FakeLinks, host: Netns
) -> None:
    """The join takes a while; then the MTU falls, and nobody has asked for that."""
    kernel.join_delay = 0.2
    link = made_anew(kernel, links, host)
    links.configure(link.index, netns=host, mtu=4092, up=True)
    kernel.let_time_pass(0.1)
    assert [4092] == [x.mtu for x in links.list(host)]
    kernel.let_time_pass(0.1)
    assert [2044] == [x.mtu for x in links.list(host)]


def test_the_group_does_not_raise_what_was_asked_for(
    kernel: FakeKernel, links: FakeLinks, host: Netns
) -> None:
    """The smaller of the two, always."""
    link = made_anew(kernel, links, host)
    links.configure(link.index, netns=host, mtu=1020, up=True)
    assert [1020] == [x.mtu for x in links.list(host)]


def test_an_interface_that_is_down_joins_nothing(
    kernel: FakeKernel, links: FakeLinks, host: Netns
) -> None:
    """Nor one that goes down, or goes away, before its join was done."""
    kernel.join_delay = 0.2
    link = made_anew(kernel, links, host)
    for up in (True, False):
        links.configure(link.index, netns=host, up=up)
    kernel.let_time_pass(1.0)
    assert [4092] == [x.mtu for x in links.list(host)]
    links.configure(link.index, netns=host, up=True)
    kernel.remove_device("mlx5_0")
    kernel.let_time_pass(1.0)
    assert () == links.list(host)


def test_a_child_has_a_group_of_its_own_with_the_same_mtu(links: FakeLinks, host: Netns) -> None:
    """A partition's group is made by the same subnet manager."""
    (link,) = links.list(host)
    links.add_pkey_child(link.index, name="tenant", pkey=0x8001, netns=host)
    child = next(x for x in links.list(host) if x.pkey)
    assert 4092 == child.mtu
    links.configure(child.index, netns=host, up=True)
    assert [2044, 2044] == [x.mtu for x in links.list(host)]
