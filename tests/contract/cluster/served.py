"""Drivers of other devices on a node with a real kubelet, served from the test's own process."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from threading import Thread

from contract.cluster.control_plane.kubelet import RealKubelet
from ibdra_app import library as dra

_SECONDS = 20.0


@contextmanager
def served(plugin: dra.KubeletPlugin) -> Iterator[None]:
    """Serve a plugin from a thread, so that a test can wait without asyncio."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()

    def run(work: Coroutine[object, object, object]) -> None:
        asyncio.run_coroutine_threadsafe(work, loop).result(_SECONDS)

    try:
        run(plugin.start())
        run(plugin.registered.wait())
        yield
        run(plugin.stop(0))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class NamedDevices:
    """A driver whose devices are a variable with their name, of claims that it cannot read."""

    def __init__(
        self, name: str, *, variable: str, kubelet: RealKubelet, kube: dra.KubePorts
    ) -> None:
        self.name = name
        self.variable = variable
        self.node = kubelet.name
        self.kube = kube
        self.cdi = dra.CdiFolder(kubelet.cdi, driver=name)

    def prepare(self, claim: dra.ClaimRef) -> tuple[dra.PreparedDevice, ...]:
        """Fulfil the port."""
        found = self.kube.claims.get(claim.namespace, claim.name)
        (result,) = dra.read_results(found, wanted=claim, pool=self.node, driver=self.name).devices
        edits = dra.ContainerEdits(env=(f"{self.variable}={result.device}",))
        device = dra.CdiDevice(name=claim.uid, container_edits=edits)
        spec = dra.CdiSpec(kind=f"{self.name}/device", devices=(device,))
        self.cdi.write(claim.uid, spec)
        return (
            dra.PreparedDevice(
                requests=(result.request,),
                pool=self.node,
                device=result.device,
                cdi_ids=(spec.qualified(claim.uid),),
            ),
        )

    def unprepare(self, claim: dra.ClaimRef) -> None:
        """Fulfil the port."""
        self.cdi.remove(claim.uid)
