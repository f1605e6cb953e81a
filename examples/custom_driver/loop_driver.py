"""A whole DRA driver, for loop devices: each is one claim's own as long as that lives.

Read it from top to bottom; whatever else a driver needs is in `ibdra_app.library`.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from ibdra_app import library as dra

DRIVER = "loop.example.com"
CDI_KIND = f"{DRIVER}/claim"
LOOP_MAJOR, LOOP_CLR_FD = 7, 0x4C01  # linux/major.h, linux/loop.h
FOLDERS = {"kubelet": "/var/lib/kubelet", "cdi": "/var/run/cdi", "state": "/var/lib/loop-driver"}


def discover(sysfs: Path) -> dict[str, dra.Device]:
    """Step 1: look at the machine, and describe each device as CEL selectors will see it."""
    found = {}
    for folder in sorted(sysfs.glob("block/loop*"), key=lambda path: int(path.name[4:])):
        plain = {
            "number": int(folder.name[4:]),
            "blockSize": int((folder / "queue/logical_block_size").read_text()),
            "free": not (folder / "loop").exists(),  # the kernel's word on its disk image
        }
        attributes = {name: dra.DeviceAttribute.of(value) for name, value in plain.items()}
        found[folder.name] = dra.Device(name=folder.name, attributes=attributes)
    return found


class Held(msgspec.Struct, frozen=True):
    """A claim's record: the answer that the kubelet got."""

    devices: tuple[dra.PreparedDevice, ...]


class LoopDriver:
    """Does the work, one claim at a time; an IbdraError that it raises is the claim's answer."""

    def __init__(
        self, claims: dra.Claims, node: str, *, cdi: Path, state: Path, sysfs: Path
    ) -> None:
        self._claims, self._node, self._sysfs = claims, node, sysfs
        self._cdi = dra.CdiFolder(cdi, driver=DRIVER)
        self._state = dra.StateFolder(state / "claims", Held)
        self._lock = dra.NodeLock(dra.FileTurn(state / "turn"), taken=lambda: None)

    def look(self) -> tuple[dra.Device, ...]:
        """Step 2: what is published, and so what the scheduler allocates from."""
        return tuple(discover(self._sysfs).values())

    def prepare(self, claim: dra.ClaimRef) -> tuple[dra.PreparedDevice, ...]:
        """Step 3: decide, write it down, then tell the container runtime."""
        with self._lock:  # our threads, and a second process in a rolling update
            loaded = self._state.load()
            held = loaded.records.get(claim.uid) or self._decide(claim, loaded)
            self._state.save(claim.uid, held)
            self._cdi.write(claim.uid, to_cdi(held))
        return held.devices

    def _decide(self, claim: dra.ClaimRef, loaded: dra.Loaded[Held]) -> Held:
        found = self._claims.get(claim.namespace, claim.name)
        results = dra.read_results(found, wanted=claim, pool=self._node, driver=DRIVER)
        held = {d.device for record in loaded.records.values() for d in record.devices}
        here, devices = discover(self._sysfs), []
        for result in results.devices:
            name, ids = result.device, (f"{CDI_KIND}={claim.uid}_{result.device}",)
            if name in held or loaded.set_aside:  # a record that is unreadable may name it too
                raise dra.DeviceRefused(f"{name} is another claim's", remedy="wait for its end")
            if name not in here or not here[name].attributes["free"].value:
                raise dra.DeviceRefused(f"{name} is gone or in use", remedy="see losetup --list")
            devices.append(
                dra.PreparedDevice(
                    requests=(result.request,), pool=self._node, device=name, cdi_ids=ids
                )
            )
        return Held(tuple(devices))

    def unprepare(self, claim: dra.ClaimRef) -> None:
        """Step 4: the way back; the record goes last, so that all can be tried again."""
        with self._lock:
            held = self._state.load().records.get(claim.uid)
            for device in held.devices if held else ():
                if (self._sysfs / "block" / device.device / "loop").exists():
                    detach(device.device)  # the pod has left its image there
            self._cdi.remove(claim.uid)
            self._state.remove(claim.uid)


def to_cdi(held: Held) -> dra.CdiSpec:
    """Say what a container gets: the device node, and a variable that names it."""
    devices = []
    for device in held.devices:
        path, request = f"/dev/{device.device}", device.requests[0].upper().replace("-", "_")
        node = dra.DeviceNode(path=path, type="b", major=LOOP_MAJOR, minor=int(device.device[4:]))
        edits = dra.ContainerEdits(env=(f"LOOP_DEVICE_{request}={path}",), device_nodes=(node,))
        name = device.cdi_ids[0].partition("=")[2]
        devices.append(dra.CdiDevice(name=name, container_edits=edits))
    return dra.CdiSpec(kind=CDI_KIND, devices=tuple(devices))


def detach(name: str) -> None:
    """Take the disk image off a device, as ``losetup -d`` does."""
    try:
        with Path("/dev", name).open("rb") as device:
            fcntl.ioctl(device, LOOP_CLR_FD)
    except OSError as error:
        raise dra.DeviceRefused(f"{name} keeps its image", remedy=f"losetup -d {name}") from error


async def run(node: str, kubeconfig: Path | None, *, kubelet: Path, **folders: Path) -> None:
    """Step 5: serve it on a node of a cluster until SIGTERM."""
    kube = dra.connect(driver=DRIVER, node=node, kubeconfig=kubeconfig)
    driver = LoopDriver(kube.claims, node, **folders)
    plugin = dra.KubeletPlugin(DRIVER, dra.OneByOne(driver), kubelet_dir=kubelet)
    await dra.serve(plugin, look=driver.look, kube=kube, node=node)


async def demo(sysfs: Path) -> None:
    """Show all of it on this machine, with a cluster in memory."""
    with TemporaryDirectory() as folder:
        node = dra.EmbeddedNode.below(Path(folder))
        claims = dra.in_memory(node.api, driver=DRIVER, node=node.name).claims
        driver = LoopDriver(claims, node.name, cdi=node.cdi_folder, state=Path(folder), sysfs=sysfs)
        async with node, node.with_driver(DRIVER, dra.OneByOne(driver), devices=driver.look()):
            *_, pod = node.apply(*sorted(Path(__file__).parent.glob("*.yaml")))
            running = await node.start(pod)
            print(running)
            await node.end(running)
        print("left over:", ", ".join(node.left()) or "nothing")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", action="store_true", help="no cluster: one pod, shown")
    parser.add_argument("--node", default=os.uname().nodename)
    parser.add_argument("--kubeconfig", type=Path, help="without it, the pod's service account")
    for name, folder in {**FOLDERS, "sysfs": "/sys"}.items():
        parser.add_argument(f"--{name}", type=Path, default=folder, metavar="DIR")
    options = vars(parser.parse_args())
    asyncio.run(demo(options["sysfs"]) if options.pop("demo") else run(**options))
