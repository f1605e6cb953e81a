"""Where the sockets lie, and who may remove them."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ibdra_adapters.kubelet import sockets
from ibdra_domain.errors import InvalidIdentifier, KubeletFailed

UID = "0b1c2d3e-4f50-6172-8394-a5b6c7d8e9f0"
LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", fullmatch=True)
DRIVER = st.lists(LABEL, min_size=1, max_size=4).map(
    lambda labels: ".".join(labels)[:63].strip("-.")
)
INSTANCE = st.uuids().map(str) | st.from_regex(
    r"[A-Za-z0-9]([A-Za-z0-9._-]{0,80}[A-Za-z0-9])?", fullmatch=True
)


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a short path."""
    return tmp_path_factory.mktemp("s")


@contextmanager
def bound(path: Path) -> Iterator[None]:
    """Hold a socket bound at the path."""
    with socket.socket(socket.AF_UNIX) as holder:
        holder.bind(str(path))
        yield


def test_sockets_lie_where_the_kubelet_looks() -> None:
    """By default the paths are the ones every kubelet uses."""
    paths = sockets.SocketPaths.of("ib.example.org")
    assert Path("/var/lib/kubelet/plugins_registry/ib.example.org-reg.sock") == paths.registration
    assert Path("/var/lib/kubelet/plugins/ib.example.org/dra.sock") == paths.plugin


def test_instances_have_sockets_of_their_own() -> None:
    """An instance's name stands in both sockets' names."""
    paths = sockets.SocketPaths.of("ib.example.org", kubelet_dir=Path("/k"), instance=UID)
    assert Path(f"/k/plugins_registry/ib.example.org-{UID}-reg.sock") == paths.registration
    assert Path(f"/k/plugins/ib.example.org/dra-{UID}.sock") == paths.plugin


def test_the_longest_names_fit_below_the_default_folder() -> None:
    """A driver name of 63 characters and a pod's UID fit, with hashed file names."""
    paths = sockets.SocketPaths.of("d" * 63, instance=UID)
    assert "f06dd724-reg.sock" == paths.registration.name
    assert "dra-f06dd724.sock" == paths.plugin.name


def test_a_relative_folder_becomes_absolute() -> None:
    """The kubelet, which runs elsewhere, gets a path it can dial."""
    paths = sockets.SocketPaths.of("d", kubelet_dir=Path("k"))
    assert Path.cwd() / "k/plugins/d/dra.sock" == paths.plugin


def test_a_folder_that_leaves_no_room_is_an_error() -> None:
    """The message names the path, its length and the limit."""
    with pytest.raises(KubeletFailed, match=r"socket path /k{90}/plugins.* has 126 bytes.* 107"):
        sockets.SocketPaths.of("driver", kubelet_dir=Path("/" + "k" * 90))


@pytest.mark.parametrize(
    "name", ["", "Upper", "a/b", "..", "../up", "a..b", "-a", "a-", "a.-b", "a\n", "d" * 64]
)
def test_what_is_no_driver_name_is_refused(name: str) -> None:
    """A name that is no DNS subdomain of 63 characters never becomes a path."""
    with pytest.raises(InvalidIdentifier, match="is not a driver name"):
        sockets.SocketPaths.of(name)


@pytest.mark.parametrize("instance", ["", "a/b", "..", "a\n", "x" * 254])
def test_what_is_no_instance_name_is_refused(instance: str) -> None:
    """An instance name that could leave the folder never becomes a path."""
    with pytest.raises(InvalidIdentifier, match="is not an instance name"):
        sockets.SocketPaths.of("driver", instance=instance)


@given(driver=DRIVER, instance=st.none() | INSTANCE)
def test_every_path_fits_a_unix_socket(driver: str, instance: str | None) -> None:
    """Below the default folder, no name makes a path that cannot be bound."""
    paths = sockets.SocketPaths.of(driver, instance=instance)
    hidden = (sockets.hidden_name(paths.registration), sockets.hidden_name(paths.plugin))
    for path in (paths.registration, paths.plugin, *hidden):
        assert len(os.fsencode(path)) <= sockets.PATH_LIMIT


@given(driver=DRIVER, instances=st.lists(st.none() | INSTANCE, min_size=2, max_size=2, unique=True))
def test_two_instances_never_share_a_socket(driver: str, instances: list[str | None]) -> None:
    """Distinct instances have distinct paths, hashed or not."""
    one, other = (sockets.SocketPaths.of(driver, instance=instance) for instance in instances)
    assert one.registration != other.registration
    assert one.plugin != other.plugin


def test_folders_are_made_for_root_and_its_group(folder: Path) -> None:
    """Each folder that was missing gets mode 0750, one that was there keeps its own."""
    folder.chmod(0o711)
    sockets.prepare_folder(folder / "plugins" / "driver")
    sockets.prepare_folder(folder / "plugins" / "driver")
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))]
    assert [0o711, 0o750, 0o750] == modes


def test_a_folder_that_cannot_be_made_is_an_error(folder: Path) -> None:
    """A file where a folder should be is named in the error, and its cause is chained."""
    (folder / "plugins").touch()
    with pytest.raises(KubeletFailed, match="plugins/driver cannot be used") as caught:
        sockets.prepare_folder(folder / "plugins" / "driver")
    assert isinstance(caught.value.__cause__, OSError)


def test_a_published_socket_is_for_its_owner_only(folder: Path) -> None:
    """The socket moves to its place with mode 0600."""
    hidden = sockets.hidden_name(folder / "dra.sock")
    with bound(hidden):
        sockets.publish(hidden, folder / "dra.sock")
        assert 0o600 == stat.S_IMODE((folder / "dra.sock").stat().st_mode)
        assert ["dra.sock"] == [path.name for path in folder.iterdir()]


def test_a_stale_socket_gives_way(folder: Path) -> None:
    """A socket left by a killed instance is replaced."""
    path = folder / "dra.sock"
    with bound(path):
        pass
    hidden = sockets.hidden_name(path)
    with bound(hidden):
        published = sockets.publish(hidden, path)
        assert published.inode == path.stat().st_ino


def test_what_is_no_socket_does_not_give_way(folder: Path) -> None:
    """Somebody's file in the socket's place is kept, and nothing else is left behind."""
    path = folder / "dra.sock"
    path.write_text("precious")
    hidden = sockets.hidden_name(path)
    with bound(hidden), pytest.raises(KubeletFailed, match="something that is no socket"):
        sockets.publish(hidden, path)
    assert [path] == list(folder.iterdir())
    assert "precious" == path.read_text()


def test_publishing_what_is_gone_is_an_error(folder: Path) -> None:
    """A hidden socket that somebody removed is named by the place it should have had."""
    with pytest.raises(KubeletFailed, match="cannot be put in place"):
        sockets.publish(folder / ".gone", folder / "dra.sock")


def test_only_our_own_socket_is_removed(folder: Path) -> None:
    """A newer socket at the same path belongs to somebody else and stays."""
    path = folder / "dra.sock"
    first, second = folder / ".1", folder / ".2"
    with bound(first), bound(second):
        ours = sockets.publish(first, path)
        theirs = sockets.publish(second, path)
        assert not ours.remove()
        assert path.is_socket()
        assert theirs.remove()
        assert not path.exists()
        assert not theirs.remove()


def test_a_socket_that_cannot_be_removed_is_an_error(folder: Path) -> None:
    """The operator learns which file to remove by hand."""
    (folder / "file").touch()
    published = sockets.PublishedSocket(path=folder / "file" / "dra.sock", device=0, inode=0)
    with pytest.raises(KubeletFailed, match="cannot be removed, Not a directory"):
        published.remove()


def test_sockets_are_found_as_the_kubelet_finds_them(folder: Path) -> None:
    """Sockets in folders count; hidden names, files and a missing folder do not."""
    (folder / "deep").mkdir()
    (folder / ".hidden").mkdir()
    (folder / "file").touch()
    names = ["b.sock", "a.sock", "deep/c.sock", ".d.sock", ".hidden/e.sock"]
    for name in names:
        with bound(folder / name):
            pass
    found = {str(socket.path.relative_to(folder)) for socket in sockets.find_sockets(folder)}
    assert {"b.sock", "a.sock", "deep/c.sock"} == found
    assert () == sockets.find_sockets(folder / "missing")
