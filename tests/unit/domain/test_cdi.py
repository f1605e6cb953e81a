"""CDI specs: what is written, read back and refused."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibdra_domain.cdi import (
    CdiDevice,
    CdiSpec,
    ContainerEdits,
    DeviceNode,
    Hook,
    Mount,
    check_spec,
    decode_spec,
    lowest_version,
)
from ibdra_domain.errors import InvalidIdentifier
from unit.domain.domain_facts import a_spec

NODE = DeviceNode(path="/dev/x", major=1, minor=2)
HOST_NODE = DeviceNode(path="/dev/x", major=1, minor=2, host_path="/dev/y")


def a_cdi_device(name: str = "one", *nodes: DeviceNode) -> CdiDevice:
    """Build a device with these nodes."""
    return CdiDevice(name=name, container_edits=ContainerEdits(device_nodes=nodes))


def test_a_spec_is_written_as_runtimes_read_it() -> None:
    """The specification's field names, empty ones left out, numbers of nodes never."""
    hook = Hook(hook_name="createRuntime", path="/opt/x", args=("x",), timeout=5)
    mount = Mount(host_path="/a", container_path="/b", options=("ro",))
    edits = ContainerEdits(env=("A=1",), hooks=(hook,), mounts=(mount,))
    assert {
        "cdiVersion": "0.3.0",
        "kind": "vendor.example/device",
        "devices": [
            {
                "name": "one",
                "containerEdits": {
                    "deviceNodes": [
                        {
                            "path": "/dev/x",
                            "type": "c",
                            "major": 1,
                            "minor": 2,
                            "permissions": "rw",
                        }
                    ]
                },
            }
        ],
        "containerEdits": {
            "env": ["A=1"],
            "hooks": [{"hookName": "createRuntime", "path": "/opt/x", "args": ["x"], "timeout": 5}],
            "mounts": [{"hostPath": "/a", "containerPath": "/b", "options": ["ro"]}],
        },
    } == json.loads(a_spec(container_edits=edits).encode())


def test_a_spec_file_is_for_people_too() -> None:
    """Indented, the version first, and it ends in a newline."""
    raw = a_spec().encode()
    assert raw.startswith(b'{\n  "cdiVersion": "0.3.0",\n  "kind"')
    assert raw.endswith(b"}\n")


def test_a_device_is_asked_for_by_kind_and_name() -> None:
    """As a pod's CRI request has it."""
    assert "vendor.example/device=one" == a_spec().qualified("one")


@pytest.mark.parametrize(
    ("spec", "version"),
    [
        (a_spec(), "0.3.0"),
        (a_spec(devices=()), "0.3.0"),
        (a_spec(devices=(a_cdi_device("0one"),)), "0.5.0"),
        (a_spec(devices=(a_cdi_device("one", NODE, HOST_NODE),)), "0.5.0"),
        (a_spec(container_edits=ContainerEdits(device_nodes=(HOST_NODE,))), "0.5.0"),
        (a_spec(kind="vendor.example/some.class"), "0.6.0"),
        (a_spec(kind="vendor.example/a.b", devices=(a_cdi_device("0", HOST_NODE),)), "0.6.0"),
        (a_spec(devices=(a_cdi_device(""),)), "0.3.0"),
    ],
    ids=[
        "plain",
        "no device",
        "name starts with a digit",
        "host path",
        "host path for all",
        "dot in the class",
        "both",
        "no name",
    ],
)
def test_the_version_is_the_lowest_that_will_do(spec: CdiSpec, version: str) -> None:
    """An older runtime takes all it can."""
    assert version == lowest_version(spec)
    assert version == json.loads(spec.encode())["cdiVersion"]


texts = st.text(max_size=8)
nodes = st.builds(
    DeviceNode,
    path=texts,
    major=st.integers(0, 4095),
    minor=st.integers(0, 2**20),
    permissions=st.sampled_from(["r", "rw", "rwm"]),
    host_path=st.just(msgspec.UNSET) | texts,
)
hooks = st.builds(
    Hook,
    hook_name=texts,
    path=texts,
    args=st.lists(texts, max_size=2).map(tuple),
    env=st.lists(texts, max_size=2).map(tuple),
    timeout=st.none() | st.integers(0, 600),
)
mounts = st.builds(Mount, host_path=texts, container_path=texts)
edits = st.builds(
    ContainerEdits,
    env=st.lists(texts, max_size=2).map(tuple),
    device_nodes=st.lists(nodes, max_size=2).map(tuple),
    hooks=st.lists(hooks, max_size=2).map(tuple),
    mounts=st.lists(mounts, max_size=2).map(tuple),
)
specs = st.builds(
    CdiSpec,
    kind=texts,
    devices=st.lists(st.builds(CdiDevice, name=texts, container_edits=edits), max_size=3).map(
        tuple
    ),
    container_edits=edits,
)


@given(specs)
def test_specs_survive_their_file(spec: CdiSpec) -> None:
    """What is written is read back, whatever is in it."""
    assert spec == decode_spec(spec.encode())


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b'{"kind": "v/c"}',
        b'{"kind": "v/c", "devices": 1}',
        b'{"kind": "\xff"}',
        b'{"x": ' + b"[" * 100_000,
    ],
    ids=["empty", "list", "object", "no devices", "devices 1", "not UTF-8", "deep"],
)
def test_what_is_not_a_spec_is_a_decode_error(raw: bytes) -> None:
    """One exception for all that may be wrong with a file."""
    with pytest.raises(msgspec.DecodeError):
        decode_spec(raw)


@pytest.mark.parametrize("kind", ["v/c", "ib.sigs.k8s.io/claim", "Vendor-1/some_class"])
@pytest.mark.parametrize("name", ["a", "0", "pci-0000-3b-00-0-port1_uid_hca", "a.b:c"])
def test_good_names_pass(kind: str, name: str) -> None:
    """Those that the runtimes' own parser takes."""
    check_spec(a_spec(kind=kind, devices=(a_cdi_device(name), a_cdi_device("other"))))


@pytest.mark.parametrize(
    "kind", ["", "vendor", "/class", "vendor/", "1v/c", "v/1c", "v/c/d", "v-/c", "v/c\n", "vé/c"]
)
def test_a_bad_kind_is_refused(kind: str) -> None:
    """Vendor and class start with a letter and end with a letter or digit."""
    with pytest.raises(InvalidIdentifier, match="is not a CDI kind"):
        check_spec(a_spec(kind=kind))


@pytest.mark.parametrize("names", [("",), ("-a",), ("a-",), ("a b",), ("a=b",), ("a", "b", "a")])
def test_a_bad_device_name_is_refused(names: tuple[str, ...]) -> None:
    """Also one that is given twice."""
    with pytest.raises(InvalidIdentifier, match="is not a CDI device name, or is given twice"):
        check_spec(a_spec(devices=tuple(a_cdi_device(name) for name in names)))
