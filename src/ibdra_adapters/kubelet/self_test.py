"""A plugin asked over its own sockets, as the kubelet would ask.

Why: a process that runs may still have lost its sockets or its event loop.  Only a call over
the sockets tells.  It has no claims, so it needs none of the driver's threads: those may all
wait for an API server that is away, and a restart would not bring that back.
"""

from __future__ import annotations

from ibdra_adapters.kubelet import wire
from ibdra_adapters.kubelet._generated import pluginregistration_pb2 as registration_pb2
from ibdra_adapters.kubelet.connection import call, dial
from ibdra_adapters.kubelet.sockets import SocketPaths
from ibdra_domain.errors import KubeletFailed


async def ask(paths: SocketPaths, *, driver_name: str, deadline: float) -> None:
    """Ask who is there, and have no claims prepared.  Raises KubeletFailed.

    ``deadline`` is in seconds, for each of the two calls.
    """
    async with dial(paths.registration) as channel:
        info = await call(
            channel,
            f"/{wire.REGISTRATION}/{wire.GET_INFO}",
            registration_pb2.InfoRequest(),
            read=registration_pb2.PluginInfo.FromString,
            deadline=deadline,
        )
    if info.name != driver_name:
        raise KubeletFailed(
            f"{paths.registration} is answered by driver {info.name!r}, not by {driver_name}",
            remedy="find out who put its socket there",
        )
    version = wire.DRA_VERSIONS[0]
    async with dial(paths.plugin) as channel:
        await call(
            channel,
            f"/{version.service}/{wire.PREPARE}",
            version.prepare_request(()),
            read=version.messages.NodePrepareResourcesResponse.FromString,
            deadline=deadline,
        )
