"""Fixtures: a cluster of every kind there is, and a server that is none."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from contract.cluster.control_plane.certificates import Authority
from contract.kube.hostile_server import HostileServer, kubeconfig, running
from contract.kube.kube_clusters import Cluster, FakeCluster
from ibdra_adapters.kube import client, connection
from ibdra_adapters.kube.client import KubeClient


@pytest.fixture(params=["fake"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """Give an empty cluster of each kind."""
    assert "fake" == request.param
    return FakeCluster()


@pytest.fixture
def server() -> Iterator[HostileServer]:
    """Give a server that does as it is told."""
    with running(HostileServer()) as started:
        yield started


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Give a CA."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl program")
    return Authority(tmp_path_factory.mktemp("authority"))


@dataclass
class Client:
    """A client of the server, what it told and slept, and its luck, from 0 to 1."""

    kube: KubeClient = field(init=False)
    seen: list[tuple[str, str]] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)
    luck: float = 0.5

    def between(self, low: float, high: float) -> float:
        return low + self.luck * (high - low)


MakeClient = Callable[[Path | None], Client]


@pytest.fixture
def make_client(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeClient]:
    """Make clients that lose patience soon; what they would sleep is written down."""
    made: list[Client] = []
    monkeypatch.setattr(client, "READ_TIMEOUT", 2.0)
    monkeypatch.setattr(client, "CALL_SECONDS", 10.0)
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT", 2.0)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    def make(config: Path | None) -> Client:
        one = Client()
        monkeypatch.setattr(client, "sleep", one.pauses.append)
        one.kube = KubeClient(
            kubeconfig=config,
            observe=lambda verb, status: one.seen.append((verb, status)),
            between=one.between,
        )
        made.append(one)
        return one

    yield make
    for one in made:
        one.kube.close()


@pytest.fixture
def there(server: HostileServer, make_client: MakeClient, tmp_path: Path) -> Client:
    """Give a client of the server."""
    return make_client(kubeconfig(tmp_path / "config", server.url, user={"token": "s3cr3t"}))


@pytest.fixture
def token(tmp_path: Path) -> Path:
    """Give a token's file."""
    path = tmp_path / "token"
    path.write_text("first", encoding="utf-8")
    return path
