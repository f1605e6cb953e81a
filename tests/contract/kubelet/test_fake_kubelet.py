"""That the kubelet we fake is as strict as the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
import pytest

from ibdra_adapters.kubelet import FakeKubelet, wire
from ibdra_adapters.kubelet._generated import dra_v1_pb2
from ibdra_adapters.kubelet._generated import pluginregistration_pb2 as registration_pb2
from ibdra_domain.errors import KubeletFailed
from ibdra_domain.ports.driver import ClaimRef

CLAIMS = [ClaimRef(namespace="ns", name=f"c{n}", uid=f"u{n}") for n in (1, 2)]


class SloppyPlugin:
    """A plugin written without our library: it sends whatever the test says."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "plugins_registry" / "sloppy.sock"
        self.info = registration_pb2.PluginInfo(
            type="DRAPlugin",
            name="sloppy",
            endpoint=str(self.socket),
            supported_versions=["v1.DRAPlugin"],
        )
        self.statuses: list[registration_pb2.RegistrationStatus] = []
        self.answered: list[str] = []

    async def get_info(self, _request: bytes, _context: object) -> bytes:
        return self.info.SerializeToString()

    async def notify(self, request: bytes, _context: object) -> bytes:
        self.statuses.append(registration_pb2.RegistrationStatus.FromString(request))
        return b""

    async def prepare(self, _request: bytes, _context: object) -> bytes:
        response = dra_v1_pb2.NodePrepareResourcesResponse()
        for uid in self.answered:
            response.claims[uid].error = "x"
        return response.SerializeToString()

    async def unprepare(self, _request: bytes, _context: object) -> bytes:
        response = dra_v1_pb2.NodeUnprepareResourcesResponse()
        for uid in self.answered:
            response.claims[uid].error = "x"
        return response.SerializeToString()

    def handlers(self) -> list[grpc.GenericRpcHandler]:
        """Give both services, bytes in and bytes out."""
        raw = grpc.unary_unary_rpc_method_handler
        return [
            grpc.method_handlers_generic_handler(
                wire.REGISTRATION,
                {wire.GET_INFO: raw(self.get_info), wire.NOTIFY: raw(self.notify)},
            ),
            grpc.method_handlers_generic_handler(
                wire.V1.service,
                {wire.PREPARE: raw(self.prepare), wire.UNPREPARE: raw(self.unprepare)},
            ),
        ]


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a kubelet's folder with a short path."""
    return tmp_path_factory.mktemp("k")


@pytest.fixture
async def plugin(folder: Path) -> AsyncIterator[SloppyPlugin]:
    """Serve a sloppy plugin."""
    sloppy = SloppyPlugin(folder)
    sloppy.socket.parent.mkdir()
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(sloppy.handlers())
    server.add_insecure_port(wire.address(sloppy.socket))
    await server.start()
    yield sloppy
    await server.stop(None)


@pytest.fixture
async def kubelet(folder: Path) -> AsyncIterator[FakeKubelet]:
    """Give a kubelet that has not looked yet."""
    async with FakeKubelet(folder) as fake:
        yield fake


async def test_a_skipped_claim_spoils_the_answer(
    kubelet: FakeKubelet, plugin: SloppyPlugin
) -> None:
    """As the kubelet does, a response that lacks a claim is thrown away."""
    await kubelet.register()
    plugin.answered = ["u1"]
    with pytest.raises(KubeletFailed, match="driver sloppy skipped 1 claims, u2"):
        await kubelet.prepare(CLAIMS)
    with pytest.raises(KubeletFailed, match="driver sloppy skipped 1 claims, u2"):
        await kubelet.unprepare(CLAIMS)


async def test_an_unknown_claim_spoils_the_answer(
    kubelet: FakeKubelet, plugin: SloppyPlugin
) -> None:
    """As the kubelet does, a response with a claim nobody asked for is thrown away."""
    await kubelet.register()
    plugin.answered = ["u1", "u2", "u3"]
    with pytest.raises(KubeletFailed, match="answered for unknown claims, u3"):
        await kubelet.prepare(CLAIMS)
    with pytest.raises(KubeletFailed, match="answered for unknown claims, u3"):
        await kubelet.unprepare(CLAIMS)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": "CSIPlugin"}, "no handler for plugin type 'CSIPlugin'"),
        ({"name": ""}, "it gives no name or no endpoint"),
        ({"endpoint": ""}, "it gives no name or no endpoint"),
        ({"supported_versions": []}, "it supports no version, this kubelet knows"),
    ],
    ids=["type", "name", "endpoint", "versions"],
)
async def test_a_plugin_that_cannot_be_used_is_refused(
    kubelet: FakeKubelet, plugin: SloppyPlugin, change: dict[str, str], reason: str
) -> None:
    """The plugin is told why, it is not registered, and it gets another chance."""
    good = registration_pb2.PluginInfo.FromString(plugin.info.SerializeToString())
    for field, value in change.items():
        plugin.info.ClearField(field)
        if value:
            setattr(plugin.info, field, value)
    with pytest.raises(KubeletFailed, match=reason):
        await kubelet.register()
    assert not plugin.statuses[0].plugin_registered
    assert reason in plugin.statuses[0].error
    plugin.info = good
    assert 1 == len(await kubelet.register())
    assert plugin.statuses[1].plugin_registered


async def test_one_bad_plugin_does_not_keep_others_out(
    kubelet: FakeKubelet, plugin: SloppyPlugin, folder: Path
) -> None:
    """All sockets are tried before the first trouble is reported."""
    stale = folder / "plugins_registry" / "a.sock"
    server = grpc.aio.server()
    server.add_insecure_port(wire.address(stale))
    await server.start()
    with pytest.raises(KubeletFailed, match="UNIMPLEMENTED"):
        await kubelet.register()
    await server.stop(None)
    assert ["sloppy"] == [registered.driver_name for registered in kubelet.plugins]
    assert plugin.statuses[0].plugin_registered


async def test_a_driver_that_died_is_an_error_of_ours(
    kubelet: FakeKubelet, plugin: SloppyPlugin
) -> None:
    """A call over a dead socket says which call it was, with gRPC's error chained."""
    plugin.info.endpoint = "/nowhere/dra.sock"
    await kubelet.register()
    with pytest.raises(KubeletFailed, match=r"NodePrepareResources .* UNAVAILABLE") as caught:
        await kubelet.prepare(CLAIMS)
    assert isinstance(caught.value.__cause__, grpc.aio.AioRpcError)
