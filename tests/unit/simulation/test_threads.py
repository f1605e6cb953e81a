"""A simulated machine that several threads change, as a node's driver and its pods do."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

from ibdra_adapters.netlink.fake import FakeNamespaces, FakeRdmaDevices
from ibdra_adapters.simulation.machine import SimulatedMachine
from ibdra_adapters.simulation.profile import load_profile

ROUNDS = 60


def test_a_pod_that_ends_while_its_driver_looks_brings_its_device_home_once(
    tmp_path: Path,
) -> None:
    """The machine's files are written by one at a time, whoever was the last to let go."""
    machine = SimulatedMachine(load_profile("dgx-h100"), tmp_path)
    kernel = machine.kernel
    namespaces, rdma = FakeNamespaces(kernel), FakeRdmaDevices(kernel)
    name = next(iter(machine.hcas))
    broken: list[Exception] = []

    def end(pid: int) -> None:
        try:
            kernel.end_process(pid)
        except Exception as error:  # noqa: BLE001 - a thread's error is told below
            broken.append(error)

    for _ in range(ROUNDS):
        pid = kernel.start_process()
        with closing(namespaces.host()) as host, closing(namespaces.of_process(pid)) as pod:
            rdma.move(name, source=host, target=pod)
        ending = threading.Thread(target=end, args=(pid,))
        ending.start()
        while ending.is_alive():
            machine.change(machine.hcas[name])
        ending.join()
        assert [] == broken
        with closing(namespaces.host()) as host:
            assert name in rdma.names(host)
