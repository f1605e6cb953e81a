"""What only the real adapter can get wrong: codes, layouts, errors, memory, threads."""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from contract.verbs.verbs_machines import DUAL_PORT, HCAS, HDR_PORT, StubMachine
from ibdra_adapters.verbs import _abi, libibverbs
from ibdra_adapters.verbs._libibverbs_cdef import ffi
from ibdra_adapters.verbs.build_cdef import TARGET, generate
from ibdra_adapters.verbs.libibverbs import LibIbverbs
from ibdra_domain.errors import KernelRefused
from ibdra_domain.hardware import Hca, HcaPort, VerbsReading
from ibdra_domain.identifiers import guid_from_int
from ibdra_domain.link import Rate

NDR = Rate(400000, 4)
XDR = Rate(800000, 4)


def with_rate(rate: Rate | None) -> Hca:
    port = msgspec.structs.replace(HDR_PORT, rate=rate)
    return Hca(name="mlx5_0", node_guid=DUAL_PORT.node_guid, ports=(port,))


def only_port(machine: StubMachine) -> HcaPort:
    reading = machine.verbs.read()
    assert () == reading.warnings
    return reading.hcas[0].ports[0]


@pytest.mark.parametrize("rate", [NDR, XDR], ids=["NDR", "XDR"])
def test_asks_for_the_speed_where_the_code_is_ambiguous(stub62: StubMachine, rate: Rate) -> None:
    """Code 128 means NDR or more; ibv_query_port_speed knows which."""
    stub62.add(with_rate(rate))
    assert rate == only_port(stub62).rate


@pytest.mark.parametrize("rate", [NDR, XDR], ids=["NDR", "XDR"])
def test_does_not_guess_between_ndr_and_xdr(stub44: StubMachine, rate: Rate) -> None:
    """Without ibv_query_port_speed, code 128 leaves the rate to sysfs."""
    stub44.add(with_rate(rate))
    assert only_port(stub44).rate is None


def test_takes_the_codes_where_the_speed_is_not_answered(stub62: StubMachine) -> None:
    """A kernel that does not know the question is no trouble."""
    stub62.add(with_rate(HDR_PORT.rate))
    stub62.refuse_speed("mlx5_0", 1, errno.EPROTONOSUPPORT)
    assert HDR_PORT.rate == only_port(stub62).rate


def test_leaves_an_unknown_rate_out(stub: StubMachine) -> None:
    """Speed code 0, as a port without a link may say, is no rate."""
    stub.add(with_rate(None))
    assert only_port(stub).rate is None


def test_a_speed_without_a_known_width_has_none(stub62: StubMachine) -> None:
    """The bandwidth stands without the lanes."""
    stub62.add(with_rate(XDR))
    stub62.c.stub_set_port(0, 1, 4, 5, 1, 5, 1, 1, 0, 0, 8000, bytes(16))
    assert Rate(800000, 0) == only_port(stub62).rate


@pytest.mark.parametrize("code", [0, 3, 255])
def test_does_not_guess_a_link_layer(stub: StubMachine, code: int) -> None:
    """A link layer that is unspecified, or that nobody knows yet, is left out."""
    stub.add(with_rate(HDR_PORT.rate))
    stub.set_port("mlx5_0", HDR_PORT, layer=code)
    assert only_port(stub).link_layer is None


def test_leaves_codes_out_that_nobody_knows(stub: StubMachine) -> None:
    """States and MTUs beyond the enumerations are left out, not invented."""
    stub.add(with_rate(None))
    stub.c.stub_set_port(0, 1, 77, 78, 1, 9, 1, 1, 0, 0, 0, bytes(16))
    expected = HcaPort(number=1, link_layer="InfiniBand", lid=1, sm_lid=1)
    assert expected == only_port(stub)


def test_reads_the_guid_in_network_order(stub: StubMachine) -> None:
    """ibv_get_device_guid answers big-endian, whatever the machine is."""
    guid = guid_from_int(0x0102030405060708)
    stub.add(Hca(name="mlx5_0", node_guid=guid))
    assert "0102:0304:0506:0708" == stub.verbs.read().hcas[0].node_guid


def test_reads_firmware_that_fills_its_field(stub: StubMachine) -> None:
    """Sixty-four characters without a NUL are not read beyond."""
    stub.add(Hca(name="mlx5_0", firmware="1" * 64))
    assert "1" * 64 == stub.verbs.read().hcas[0].firmware


def test_leaves_out_a_device_that_does_not_answer(stub: StubMachine) -> None:
    """A device that opens and then fails is named in a warning, and is closed."""
    for hca in HCAS:
        stub.add(hca)
    stub.refuse_device("mlx5_0", errno.EIO)
    reading = stub.verbs.read()
    assert HCAS[1:] == reading.hcas
    assert ["mlx5_0 cannot be queried (EIO)"] == [w.split(": ")[0] for w in reading.warnings]
    assert 0 == stub.leaks()


def test_reads_an_errno_that_comes_by_the_side(stub: StubMachine) -> None:
    """A call that returns -1 is reported by errno, and without one by what there is."""
    stub.add(DUAL_PORT)
    stub.refuse_port("mlx5_0", 1, -1)
    reading = stub.verbs.read()
    assert "mlx5_0 port 1 cannot be queried (no errno given)" == reading.warnings[0].split(": ")[0]


@pytest.mark.parametrize("call", ["read", "read_port"])
def test_gives_everything_back_when_something_raises(
    stub: StubMachine, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Even an error of our own leaves no list and no context behind."""
    stub.add(DUAL_PORT)

    def broken(*_: object) -> None:
        held.append(stub.leaks())
        raise ZeroDivisionError

    held: list[int] = []
    monkeypatch.setattr(libibverbs, "_read_port", broken)
    with pytest.raises(ZeroDivisionError):
        stub.verbs.read() if call == "read" else stub.verbs.read_port("mlx5_0", 1)
    assert [2] == held, "one list and one context were out"
    assert 0 == stub.leaks()


def test_nothing_is_written_beyond_the_frozen_structures(stub: StubMachine) -> None:
    """The exported calls fill 48 and 232 bytes; our headroom stays as it was."""
    stub.add(DUAL_PORT)
    library: Any = ffi.dlopen(stub.c._name)
    port: Any = ffi.new("struct ibv_port_attr *")
    device: Any = ffi.new("struct ibv_device_attr *")
    devices = library.ibv_get_device_list(ffi.NULL)
    context = library.ibv_open_device(devices[0])
    assert 0 == library.ibv_query_port(context, 1, port)
    assert 0 == library.ibv_query_device(context, device)
    library.ibv_close_device(context)
    library.ibv_free_device_list(devices)
    assert 47 == ffi.offsetof("struct ibv_port_attr", "flags")
    assert 48 == ffi.offsetof("struct ibv_port_attr", "headroom")
    assert 232 == ffi.offsetof("struct ibv_device_attr", "headroom")
    assert 0xA5 == port.flags
    assert bytes(80) == ffi.buffer(port.headroom)[:]
    assert bytes(128) == ffi.buffer(device.headroom)[:]


def test_threads_share_one_adapter(stub: StubMachine) -> None:
    """Many readers at once see the same and leave nothing behind."""
    for hca in HCAS:
        stub.add(hca)
    with ThreadPoolExecutor(8) as pool:
        readings = list(pool.map(lambda _: stub.verbs.read(), range(200)))
    assert [VerbsReading(hcas=HCAS)] * 200 == readings
    assert 0 == stub.leaks()


def test_every_event_is_acknowledged(stub: StubMachine) -> None:
    """An event that is not acknowledged would hold its device when that is closed."""
    stub.fill()
    events = stub.verbs.watch("mlx5_0")
    for kind in stub.events:
        stub.tell("mlx5_0", kind, 1)
    assert len(stub.events) == len(events.wait(1))
    assert (0, 1) == (stub.c.stub_unacknowledged(), stub.leaks())
    events.close()
    assert 0 == stub.leaks()


@pytest.mark.parametrize("library", ["libibverbs-not-here.so.1", "libc.so.6"])
def test_without_a_library_nothing_is_watched(library: str) -> None:
    """The refusal says what to install, and carries what the loader said."""
    with pytest.raises(KernelRefused, match="install rdma-core's libibverbs1") as refused:
        LibIbverbs(library).watch("mlx5_0")
    assert errno.ELIBACC == refused.value.errno
    assert isinstance(refused.value.__cause__, OSError)


def test_the_events_descriptor_is_where_the_library_has_it() -> None:
    """``async_fd`` is public, and stands behind 32 operations (verbs.h)."""
    assert 268 == ffi.offsetof("struct ibv_context", "async_fd")
    assert 8 == ffi.offsetof("struct ibv_async_event", "event_type")


@pytest.mark.parametrize(
    ("library", "cause"),
    [
        ("libibverbs-not-here.so.1", "cannot open shared object file"),
        ("libc.so.6", "it lacks ibv_get_device_list"),
    ],
)
def test_warns_of_a_library_that_is_not_usable(library: str, cause: str) -> None:
    """A missing or wrong library is one warning: library, cause, remedy."""
    verbs = LibIbverbs(library)
    reading = verbs.read()
    assert () == reading.hcas
    assert 1 == len(reading.warnings)
    assert reading.warnings[0].startswith(f"{library} is not usable")
    assert cause in reading.warnings[0]
    assert "install rdma-core's libibverbs1" in reading.warnings[0]
    assert verbs.read_port("mlx5_0", 1) is None


def test_tries_a_missing_library_again(tmp_path: Path, stub: StubMachine) -> None:
    """A library that appears later is found by the next reading."""
    stub.add(DUAL_PORT)
    path = tmp_path / "libibverbs.so.1"
    verbs = LibIbverbs(str(path))
    assert 1 == len(verbs.read().warnings)
    path.symlink_to(stub.c._name)
    assert VerbsReading(hcas=(DUAL_PORT,)) == verbs.read()


def test_loads_nothing_before_the_first_question() -> None:
    """Constructing the adapter touches no library."""
    assert LibIbverbs("libibverbs-not-here.so.1")._loaded is None


def test_the_generated_declarations_are_up_to_date(tmp_path: Path) -> None:
    """Generating the declarations again changes nothing."""
    again = tmp_path / "again.py"
    generate(again)
    assert TARGET.read_text() == again.read_text()


@pytest.mark.real
def test_the_machines_own_libibverbs_without_rdma() -> None:
    """On a machine without RDMA, the distribution's libibverbs gives an empty reading."""
    try:
        _abi.Library("libibverbs.so.1")
    except OSError:
        pytest.skip("needs libibverbs.so.1: install the distribution's libibverbs1")
    if any(Path("/sys/class/infiniband").glob("*")):
        pytest.skip("needs a machine without RDMA devices: this one has some")
    assert VerbsReading() == LibIbverbs().read()
    assert LibIbverbs().read_port("mlx5_0", 1) is None
