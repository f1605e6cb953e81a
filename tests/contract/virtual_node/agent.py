"""The node agent as a process in the guest, and what a kubelet, a runtime and pods do with it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from contract.virtual_node import inside
from contract.virtual_node.guests import HOOK
from ibdra_adapters.kubelet import FakeKubelet
from ibdra_domain.errors import KubeletFailed
from ibdra_domain.ports.driver import ClaimRef

PROGRAM = Path(sys.executable).with_name("ibdra")
PKEY, MTU = 0x8001, 2048
SECONDS = 120.0
_CONFIG = {
    "apiVersion": "ib.resource.sigs.k8s.io/v1alpha1",
    "kind": "IbConfig",
    "pkey": PKEY,
    "mtu": MTU,
    "trafficClass": 128,
}


class Node:
    """The daemon's folders, its process, and what a kubelet and a runtime do with it."""

    def __init__(
        self, folder: Path, claims: Mapping[ClaimRef, Path], *, hook: Path | str = HOOK
    ) -> None:
        self.folder = folder
        self._hook = hook
        self._daemon: subprocess.Popen[bytes] | None = None
        for claim, function in claims.items():
            path = folder / "claims" / claim.namespace / f"{claim.name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(_claim(claim, function)))

    def places(self) -> list[str]:
        """Give the options that name its folders."""
        options = {
            "--node": "node-a",
            "--kubelet-dir": self.folder / "kubelet",
            "--cdi-dir": self.folder / "cdi",
            "--state-dir": self.folder / "state",
            "--run-dir": self.folder / "run",
            "--hook": self._hook,
        }
        return [str(word) for pair in options.items() for word in pair]

    def start(self) -> None:
        """Start the daemon."""
        words = [*self.places(), "--kube", "memory", "--claims", str(self.folder / "claims")]
        with (self.folder / "daemon.log").open("ab") as log:
            self._daemon = subprocess.Popen([str(PROGRAM), "run", *words], stderr=log)

    def end(self, number: int) -> int:
        """Send the daemon a signal, and wait for its end."""
        daemon, self._daemon = self._daemon, None
        if daemon is None:
            return 0
        daemon.send_signal(number)
        return daemon.wait(SECONDS)

    def kubelet(self, what: str, *claims: ClaimRef) -> list[Any]:
        """Register as a kubelet does, and have claims prepared or unprepared."""

        async def call() -> list[Any]:
            async with FakeKubelet(self.folder / "kubelet") as kubelet:
                until = time.monotonic() + SECONDS
                while not kubelet.plugins and time.monotonic() < until:
                    with contextlib.suppress(KubeletFailed):
                        await kubelet.register()
                    await asyncio.sleep(0.5)  # registering costs an emulated processor dearly
                assert kubelet.plugins, self.log()
                answers = await getattr(kubelet, what)(claims)
                return [answers[claim.uid] for claim in claims]

        return asyncio.run(call())

    def spec(self, claim: ClaimRef) -> dict[str, Any]:
        """Read a claim's CDI spec, as a runtime does."""
        (path,) = (self.folder / "cdi").glob(f"*{claim.uid}.json")
        found: dict[str, Any] = json.loads(path.read_bytes())
        return found

    def hook(self, claim: ClaimRef, pid: int) -> subprocess.CompletedProcess[str]:
        """Run the hook of a claim's spec for a container."""
        (hook,) = self.spec(claim)["containerEdits"]["hooks"]
        state = {"ociVersion": "1.2.0", "id": "ctr0", "status": "creating", "pid": pid}
        return subprocess.run(
            [hook["path"], *hook["args"][1:]],
            input=json.dumps(state),
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )

    def attach(self, claim: ClaimRef, pid: int) -> subprocess.CompletedProcess[str]:
        """Start a container as a runtime does, which tries again and reads the spec anew."""
        done = self.hook(claim, pid)
        return self.hook(claim, pid) if "device nodes" in done.stderr else done

    def published(self) -> int:
        """Tell how many devices the daemon published last."""
        return int(re.findall(r"(\d+) devices published", self.log())[-1])

    def log(self) -> str:
        """Give what the daemon said."""
        return (self.folder / "daemon.log").read_text()


def _claim(claim: ClaimRef, function: Path) -> dict[str, Any]:
    """Write a claim for a function's port, allocated, with an IbConfig."""
    driver = "ib.sigs.k8s.io"
    device = f"pci-{function.name.replace(':', '-').replace('.', '-')}-port1"
    result = {"request": "hca", "driver": driver, "pool": "node-a", "device": device}
    opaque = {"driver": driver, "parameters": _CONFIG}
    devices = {
        "results": [result],
        "config": [{"source": "FromClaim", "requests": ["hca"], "opaque": opaque}],
    }
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"namespace": claim.namespace, "name": claim.name, "uid": claim.uid},
        "spec": {},
        "status": {"allocation": {"devices": devices}},
    }


@contextlib.contextmanager
def a_pod() -> Iterator[int]:
    """Run a process in a network namespace of its own."""
    process = subprocess.Popen(["unshare", "--net", "sleep", "600"])
    comm = Path(f"/proc/{process.pid}/comm")
    inside.eventually(lambda: comm.read_text() == "sleep\n")
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def seen_by(pid: int) -> tuple[str, dict[str, Any]]:
    """Give the RDMA devices and the IPoIB interfaces of a process' namespace."""
    enter = ["nsenter", "--net", f"--target={pid}"]
    rdma = subprocess.check_output([*enter, "rdma", "dev"], text=True)
    links = json.loads(subprocess.check_output([*enter, "ip", "-j", "link"], text=True))
    return rdma, {x["ifname"]: x for x in links if x["link_type"] == "infiniband"}
