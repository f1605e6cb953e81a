"""What the demo looks at: a container from inside and out, and the node before and after.

Why: the demo must not believe the driver.  Everything here is asked of the kernel's ports,
and of device nodes that are opened.
"""

from __future__ import annotations

import errno
from contextlib import closing

from ibdra_adapters.simulation.runtime import StartedContainer
from ibdra_app.container import Container
from ibdra_app.demo_report import ContainerSeen, InterfaceSeen
from ibdra_domain.errors import KernelRefused
from ibdra_domain.identifiers import format_pkey
from ibdra_domain.ports.netlink import Netns


class Looking:
    """Looks through one wired container's ports."""

    def __init__(self, container: Container) -> None:
        self._kernel = container.kernel()
        self._stage = container.stage()
        self._sysfs = container.sysfs()
        self._discovery = container.discovery()

    def container(self, started: StartedContainer) -> ContainerSeen:
        """Look at a container from inside and out, through the kernel."""
        paths = [node.split(" ", 1)[0] for node in started.device_nodes]
        with (
            closing(self._kernel.namespaces.host()) as host,
            closing(self._kernel.namespaces.of_process(started.pid)) as netns,
        ):
            return ContainerSeen(
                name=started.name,
                namespace=str(netns.id),
                cdi_ids=started.cdi_ids,
                device_nodes=started.device_nodes,
                node_access={
                    path: {
                        "container": self._access(path, netns),
                        "host": self._access(path, host),
                    }
                    for path in paths
                },
                env=started.env,
                rdma_devices=self._kernel.rdma.names(netns),
                interfaces=tuple(
                    InterfaceSeen(
                        name=link.name,
                        mtu=link.mtu,
                        up=link.up,
                        pkey=None if link.pkey is None else format_pkey(link.pkey),
                    )
                    for link in self._kernel.links.list(netns)
                    if netns.id != host.id and link.port_guid is not None
                ),
            )

    def _access(self, path: str, netns: Netns) -> str:
        try:
            self._stage.open_node(path, netns=netns)
        except KernelRefused as error:
            return f"refused ({errno.errorcode[error.errno]})"
        return "opens"

    def node(self) -> dict[str, str]:
        """Describe everything on the node that an example could change for good.

        Device numbers are not among it: the kernel gives them out anew at every move.
        """
        with closing(self._kernel.namespaces.host()) as host:
            now = {
                f"interface {link.name}": f"MTU {link.mtu}, {'up' if link.up else 'down'}"
                for link in self._kernel.links.list(host)
                if link.port_guid is not None
            }
            now |= {f"RDMA device {name}": "at home" for name in self._kernel.rdma.names(host)}
        for device in self._discovery.take().devices:
            traffic_class = self._sysfs.traffic_class(device.rdma_device, device.port)
            now[f"traffic class of {device.rdma_device} port {device.port}"] = str(traffic_class)
        return now
