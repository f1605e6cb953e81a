"""One QEMU machine: two sockets, an HCA on each, the host's root to read.

No KVM is asked for: the machine runs wherever Python does, as slowly as it must. It always
ends, by itself or at its deadline.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from contract.virtual_node.packages import QEMU, Kernel

_TAIL_LINES = 60
_KERNEL_ARGUMENTS = (
    "console=ttyS0",
    "rdinit=/init",
    "panic=-1",  # a panic reboots at once, which ends QEMU (-no-reboot)
    "oops=panic",  # an oops under a mutex would otherwise hang whatever comes next
    "random.trust_cpu=on",
    "tsc=reliable",
    "mitigations=off",
    "loglevel=4",
)


@dataclass(frozen=True, slots=True)
class Machine:
    """What is booted, and where it leaves its traces."""

    kernel: Kernel
    initramfs: Path
    share: Path
    bytecode: Path
    memory_mib: int = 1536

    @property
    def console(self) -> Path:
        """What the guest wrote to its serial console."""
        return self.share / "console.log"

    def run(self, program: Sequence[str], *, deadline: float) -> bool:
        """Boot into the program; say whether the machine ended before the deadline."""
        command = self.command(program)
        with (self.share / "qemu.log").open("wb") as log:
            try:
                subprocess.run(
                    command,
                    check=True,
                    timeout=deadline,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            except subprocess.TimeoutExpired:
                return False
            except subprocess.CalledProcessError as failure:
                text = (self.share / "qemu.log").read_text(errors="replace")
                raise RuntimeError(f"QEMU failed: {text}") from failure
        return True

    def command(self, program: Sequence[str]) -> list[str]:
        """Give QEMU's command line."""
        half = self.memory_mib // 2
        kernel_arguments = " ".join((*_KERNEL_ARGUMENTS, "--", *program))
        return [
            # A machine never outlives the one who waits for it, however that one ends.
            *("setpriv", "--pdeathsig", "KILL", QEMU),
            *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
            # In turns: with a thread for each processor, one runs what another is patching
            # (a kernel does at boot), now and then into a panic.  It is no slower here.
            *("-accel", "tcg,thread=single", "-cpu", "max", "-M", "q35"),
            *("-smp", "2,sockets=2", "-m", f"{self.memory_mib}M"),
            *_numa_node(0, half),
            *_numa_node(1, half),
            *("-serial", f"file:{self.console}"),
            *("-kernel", str(self.kernel.image), "-initrd", str(self.initramfs)),
            *("-append", kernel_arguments),
            *_share("root", Path("/"), "readonly=on,multidevs=remap"),
            *_share("share", self.share, "multidevs=remap"),
            *_share("bytecode", self.bytecode, "multidevs=remap"),
            # The firmware lists the host bridges last first; the kernel follows it.
            *_hca(1),
            *_hca(0),
        ]

    def tail(self) -> str:
        """Give the console's last lines."""
        if not self.console.exists():
            return "(the console stayed empty)"
        lines = self.console.read_text(errors="replace").splitlines()
        return "\n".join(lines[-_TAIL_LINES:])


def _share(tag: str, path: Path, options: str) -> tuple[str, str]:
    return ("-virtfs", f"local,path={path},mount_tag={tag},security_model=none,{options}")


def _numa_node(node: int, mib: int) -> tuple[str, ...]:
    return (
        *("-object", f"memory-backend-ram,id=memory{node},size={mib}M"),
        *("-numa", f"node,nodeid={node},memdev=memory{node},cpus={node}"),
    )


def _hca(node: int) -> tuple[str, ...]:
    """Give one socket's PCI host bridge with a function that can have 8 virtual ones.

    QEMU's only SR-IOV functions beside network cards are nvme's; without a drive it is a
    PCI function that does nothing, which is all that the stub driver wants of it.
    """
    queues = "max_ioqpairs=26,msix_qsize=26"
    virtual = "sriov_max_vfs=8,sriov_vq_flexible=16,sriov_vi_flexible=16"
    return (
        *(
            "-device",
            f"pxb-pcie,id=bridge{node},bus=pcie.0,bus_nr={64 * (node + 1)},numa_node={node}",
        ),
        *("-device", f"pcie-root-port,id=port{node},bus=bridge{node},chassis={node + 1},slot=1"),
        *("-device", f"nvme-subsys,id=subsystem{node}"),
        *(
            "-device",
            f"nvme,id=hca{node},serial=hca{node},subsys=subsystem{node}"
            f",bus=port{node},{queues},{virtual}",
        ),
    )
