"""The kubelet's part, played: find drivers' sockets, register them, call them.

Why: a driver is tested as the kubelet will use it, over real sockets and with the kubelet's
own checks, and the demo needs no cluster.  Other drivers' authors can use it too.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Self

from ibdra_adapters.kubelet import health_wire, sockets, wire
from ibdra_adapters.kubelet._generated import pluginregistration_pb2 as registration_pb2
from ibdra_adapters.kubelet.connection import Connection, RegisteredPlugin, call, dial
from ibdra_domain.errors import KubeletFailed
from ibdra_domain.ports.driver import ClaimRef, DeviceHealth, PreparedDevice

DEADLINE = 45.0
"""Seconds the kubelet waits for one call."""


class FakeKubelet:
    """Do what the kubelet does with DRA drivers.

    Use it as an async context manager, or call :meth:`close` at the end.

    Parameters
    ----------
    kubelet_dir:
        The folder the drivers put their sockets below.
    versions:
        The service versions this kubelet knows, as drivers announce them; an older
        kubelet is ``("v1beta1.DRAPlugin",)``.
    health_versions:
        The versions of the health service this kubelet knows; none without that feature.
    deadline:
        Seconds one call may take.
    """

    def __init__(
        self,
        kubelet_dir: Path,
        *,
        versions: Collection[str] = ("v1.DRAPlugin", "v1beta1.DRAPlugin"),
        health_versions: Collection[str] = ("v1.DRAResourceHealth", "v1alpha1.DRAResourceHealth"),
        deadline: float = DEADLINE,
    ) -> None:
        self._registry = kubelet_dir / sockets.REGISTRY
        self._versions = {
            version.announced: version
            for version in wire.DRA_VERSIONS
            if version.announced in versions
        }
        self._health_versions = {
            version.announced: version
            for version in health_wire.HEALTH_VERSIONS
            if version.announced in health_versions
        }
        self._deadline = deadline
        self._connections: dict[sockets.FoundSocket, Connection] = {}

    @property
    def plugins(self) -> tuple[RegisteredPlugin, ...]:
        """The drivers registered now, the most recent one last."""
        return tuple(connection.plugin for connection in self._connections.values())

    async def register(self) -> tuple[RegisteredPlugin, ...]:
        """Look into the folder once: forget drivers that left, register those that came.

        Gives the new ones.  Raises KubeletFailed for the first one that does not answer
        or is refused (and told so), after all others were registered.
        """
        found = sockets.find_sockets(self._registry)
        for gone in self._connections.keys() - set(found):
            await self._connections.pop(gone).close()
        new: list[RegisteredPlugin] = []
        errors: list[KubeletFailed] = []
        for socket in found:
            if socket in self._connections:
                continue
            try:
                plugin = await self._introduce(socket.path)
            except KubeletFailed as error:
                errors.append(error)
                continue
            version = self._versions[plugin.version]
            self._connections[socket] = Connection(plugin, version=version)
            new.append(plugin)
        if errors:
            raise errors[0]
        return tuple(new)

    async def prepare(
        self, claims: Sequence[ClaimRef], *, driver_name: str | None = None
    ) -> Mapping[str, tuple[PreparedDevice, ...] | str]:
        """Have claims prepared: devices or the driver's error, by claim UID.

        Raises KubeletFailed where the kubelet throws the whole answer away: no answer in
        time, a claim left out, or one that was not asked for.  ``driver_name`` may be left
        out while only one driver is registered.
        """
        connection = self._connection(driver_name)
        response = await connection.call(
            wire.PREPARE, connection.version.prepare_request(claims), deadline=self._deadline
        )
        prepared = wire.read_prepared(response)
        _check_complete(connection.plugin, asked=claims, answered=prepared)
        return prepared

    async def unprepare(
        self, claims: Sequence[ClaimRef], *, driver_name: str | None = None
    ) -> Mapping[str, str | None]:
        """Have claims unprepared: None or the driver's error, by claim UID.

        Raises KubeletFailed as :meth:`prepare` does.
        """
        connection = self._connection(driver_name)
        response = await connection.call(
            wire.UNPREPARE, connection.version.unprepare_request(claims), deadline=self._deadline
        )
        unprepared = wire.read_unprepared(response)
        _check_complete(connection.plugin, asked=claims, answered=unprepared)
        return unprepared

    async def watch_health(
        self, *, driver_name: str | None = None
    ) -> AsyncGenerator[tuple[DeviceHealth, ...], None]:
        """Give each list a driver tells of its devices' health, until it ends the stream.

        Raises KubeletFailed if it announced no such service, or the stream fails; the real
        kubelet watches again after 5 seconds then.
        """
        connection = self._connection(driver_name)
        plugin = connection.plugin
        if plugin.health_version is None:
            raise KubeletFailed(
                f"driver {plugin.driver_name} tells nothing of its devices' health",
                remedy="have it announce a DRAResourceHealth version this kubelet knows",
            )
        version = self._health_versions[plugin.health_version]
        async with aclosing(connection.watch_health(version)) as lists:
            async for devices in lists:
                yield devices

    async def close(self) -> None:
        """Hang up.  The drivers are not told: the real kubelet does not tell them either."""
        while self._connections:
            await self._connections.popitem()[1].close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _connection(self, driver_name: str | None) -> Connection:
        """Choose the driver's instance that registered last."""
        names = {plugin.driver_name for plugin in self.plugins}
        if driver_name is None and len(names) == 1:
            (driver_name,) = names
        for connection in reversed(self._connections.values()):
            if connection.plugin.driver_name == driver_name:
                return connection
        raise KubeletFailed(
            f"no driver {driver_name or 'to call'} is chosen among those registered "
            f"({', '.join(sorted(names)) or 'none'})",
            remedy="start the driver, call register(), and name it if there are several",
        )

    async def _introduce(self, socket: Path) -> RegisteredPlugin:
        """Ask a socket who is there, judge the answer, and tell."""
        async with dial(socket) as channel:
            info = await call(
                channel,
                f"/{wire.REGISTRATION}/{wire.GET_INFO}",
                registration_pb2.InfoRequest(),
                read=registration_pb2.PluginInfo.FromString,
                deadline=self._deadline,
            )
            version = next((v for v in info.supported_versions if v in self._versions), None)
            refusal = self._judge(info, version=version)
            await call(
                channel,
                f"/{wire.REGISTRATION}/{wire.NOTIFY}",
                registration_pb2.RegistrationStatus(
                    plugin_registered=refusal is None, error=refusal
                ),
                read=registration_pb2.RegistrationStatusResponse.FromString,
                deadline=self._deadline,
            )
        if refusal is not None or version is None:
            raise KubeletFailed(
                f"the plugin at {socket} is refused, {refusal}",
                remedy="have it announce itself as a DRAPlugin of a version this kubelet knows",
            )
        return RegisteredPlugin(
            driver_name=info.name,
            endpoint=Path(info.endpoint),
            version=version,
            socket=socket,
            health_version=next(
                (v for v in info.supported_versions if v in self._health_versions), None
            ),
        )

    def _judge(self, info: registration_pb2.PluginInfo, *, version: str | None) -> str | None:
        """Say why a plugin cannot be registered, if it cannot."""
        if info.type != wire.PLUGIN_TYPE:
            return f"no handler for plugin type {info.type!r}"
        if not info.name or not info.endpoint:
            return "it gives no name or no endpoint"
        if version is None:
            return (
                f"it supports {', '.join(info.supported_versions) or 'no version'}, "
                f"this kubelet knows {', '.join(self._versions) or 'none'}"
            )
        return None


def _check_complete(
    plugin: RegisteredPlugin, *, asked: Sequence[ClaimRef], answered: Mapping[str, object]
) -> None:
    """Refuse an answer the kubelet would throw away."""
    uids = {claim.uid for claim in asked}
    if skipped := sorted(uids - answered.keys()):
        raise KubeletFailed(
            f"driver {plugin.driver_name} skipped {len(skipped)} claims, {', '.join(skipped)}",
            remedy="have it give an entry for every claim it is asked about",
        )
    if unknown := sorted(answered.keys() - uids):
        raise KubeletFailed(
            f"driver {plugin.driver_name} answered for unknown claims, {', '.join(unknown)}",
            remedy="have it give entries only for the claims it is asked about",
        )
