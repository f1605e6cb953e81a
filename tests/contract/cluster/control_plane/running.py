"""A Kubernetes control plane: etcd, API server, controller manager and scheduler.

Why: only the real programs show what a cluster does with our objects.  All of it is on
127.0.0.1 and in one temporary folder (in memory, where there is room), and is gone at the end.
Nothing is kept safe on disk: a test's data need not survive this machine.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from types import TracebackType
from typing import Self

from contract.cluster.control_plane import building, commands
from contract.cluster.control_plane.api import Api, ApiError
from contract.cluster.control_plane.certificates import Authority
from contract.cluster.control_plane.kubeconfigs import Server, with_certificate
from contract.cluster.control_plane.processes import Process, Starter

_ADDRESS = "127.0.0.1"
_PREFIX = "ibdra-cp-"
_START_SECONDS = 120.0
_POLL_SECONDS = 0.05
_ROOM_IN_MEMORY = 2 << 30


class StartFailed(Exception):
    """A part of the control plane did not come up; the text has its log's end."""


class ControlPlane:
    """One control plane, running inside a ``with`` block.

    Parameters
    ----------
    minor
        The release, such as ``1.37``; one of ``building.kubernetes_minors()``.
    feature_gates
        Gates that differ from the release's defaults.
    controllers
        The controller manager's ``--controllers``.
    runtime_config
        API versions to turn on, as ``resource.k8s.io/v1beta2: true``.
    """

    def __init__(
        self,
        minor: str,
        *,
        feature_gates: Mapping[str, bool] | None = None,
        controllers: Iterable[str] = ("*",),
        runtime_config: Mapping[str, bool] | None = None,
    ) -> None:
        building.check_machine()
        build = building.kubernetes(minor)
        self.minor = minor
        self.version = build.version
        self._options = commands.Options(
            binaries=building.commands(build),
            etcd=building.commands(building.etcd()) / "etcd",
            feature_gates=dict(feature_gates or {}),
            controllers=tuple(controllers),
            runtime_config=dict(runtime_config or {}),
        )
        self._made = 0

    def __enter__(self) -> Self:
        parent = _in_memory()
        remove_left(parent)
        self._temporary = TemporaryDirectory(
            prefix=f"{_PREFIX}{os.getpid()}-", dir=parent, ignore_cleanup_errors=True
        )
        self.folder = Path(self._temporary.name)
        self.logs = self.folder / "logs"
        self._port = _held_port()
        self._starter = Starter()
        self._processes: dict[str, Process] = {}
        try:
            self._prepare()
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where the API server is."""
        return f"https://{_ADDRESS}:{self._port.getsockname()[1]}"

    @property
    def ca_file(self) -> Path:
        """The CA that signed the API server's certificate."""
        return self._authority.ca.certificate

    def kubeconfig_for(self, user: str, *, groups: Iterable[str] = ()) -> Path:
        """Write a kubeconfig with a client certificate for this user."""
        certificate = self._authority.client(user, groups=groups)
        return self._write_kubeconfig(with_certificate(certificate))

    def service_account_kubeconfig(
        self, namespace: str, name: str, *, pod: tuple[str, str] | None = None
    ) -> Path:
        """Write a kubeconfig with a token for a service account.

        Parameters
        ----------
        namespace, name
            The account, which must be there.
        pod
            Name and UID of the pod that the token is bound to, as the kubelet's tokens are;
            the server then adds the name of the pod's node to what it knows of the user.
        """
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token"
        spec: dict[str, object] = {"expirationSeconds": 3600}
        if pod is not None:
            kind = {"apiVersion": "v1", "kind": "Pod"}
            spec["boundObjectRef"] = {**kind, "name": pod[0], "uid": pod[1]}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = Api(self.kubeconfig).request("POST", path, body)
        return self._write_kubeconfig({"token": answer["status"]["token"]})

    def stop_api_server(self) -> None:
        """Let the API server be gone at once; what it has stored stays."""
        self._processes["kube-apiserver"].kill()

    def start_api_server(self) -> None:
        """Let it come back, on the same port and with the same data; return when it is ready."""
        self._processes["kube-apiserver"].start()
        self._await_ready()

    def pause(self) -> None:
        """Let the API server answer nobody; connections stay open."""
        self._processes["kube-apiserver"].pause()

    def resume(self) -> None:
        """Let the API server go on."""
        self._processes["kube-apiserver"].resume()

    def tail(self) -> str:
        """Give the ends of all logs."""
        return "\n".join(f"== {each.name}\n{each.tail()}" for each in self._processes.values())

    def complaints(self) -> str:
        """Give the last warnings and errors of all logs."""
        return "\n".join(
            f"== {each.name}\n{each.complaints()}" for each in self._processes.values()
        )

    def stop(self) -> None:
        """End all processes and remove what they left."""
        for process in reversed(self._processes.values()):
            process.kill()
        self._starter.close()
        self._port.close()
        self._temporary.cleanup()

    def _prepare(self) -> None:
        """Make keys, certificates and kubeconfigs."""
        for folder in (self.logs, self.folder / "pki", self.folder / "kubeconfigs"):
            folder.mkdir()
        self._authority = Authority(self.folder / "pki")
        self.kubeconfig = self.kubeconfig_for("test-admin", groups=["system:masters"])
        for command in commands.CLIENTS:
            user = with_certificate(self._authority.client(f"system:{command}"))
            self._server.kubeconfig(self.folder / f"{command}.kubeconfig", user)
        self._wanted = commands.control_plane(
            self._options,
            folder=self.folder,
            port=self._port.getsockname()[1],
            serving=self._authority.serving(
                "kube-apiserver", hosts=[_ADDRESS, "localhost", commands.SERVICE_ADDRESS]
            ),
            asking=self._authority.client("kube-apiserver-kubelet", groups=["system:masters"]),
            ca=self._authority.ca,
            tokens=self._authority.signing_key("service-accounts"),
        )

    def _start(self) -> None:
        """Start what serves, then who asks it: nobody has to try again."""
        for name in ("etcd", "kube-apiserver"):
            self._launch(name)
        self._await_ready()
        for name in commands.CLIENTS:
            self._launch(name)
        self._await("/api/v1/namespaces/default/serviceaccounts/default")

    def _launch(self, name: str) -> None:
        process = Process(name, self._wanted[name], logs=self.logs, starter=self._starter)
        self._processes[name] = process
        process.start()

    def _await_ready(self) -> None:
        self._await("/readyz")

    def _await(self, path: str) -> None:
        """Wait until the server gives this; notice at once who has died meanwhile."""
        api = Api(self.kubeconfig)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                api.text("GET", path, seconds=5.0)
            except (OSError, ApiError) as error:
                reason = error
            else:
                return
            dead = [each for each in self._processes.values() if not each.is_alive]
            if dead:
                raise StartFailed(f"{dead[0].name} has ended; its log ends:\n{dead[0].tail()}")
            if time.monotonic() > deadline:
                raise StartFailed(f"{path} is not there ({reason}):\n{self.tail()}") from reason
            time.sleep(_POLL_SECONDS)

    @property
    def _server(self) -> Server:
        return Server(url=self.url, ca_file=self.ca_file)

    def _write_kubeconfig(self, user: dict[str, str]) -> Path:
        self._made += 1
        return self._server.kubeconfig(self.folder / "kubeconfigs" / str(self._made), user)


def remove_left(parent: Path) -> None:
    """Remove what killed test runs have left: it may be memory."""
    for path in parent.glob(f"{_PREFIX}*"):
        pid = path.name.removeprefix(_PREFIX).partition("-")[0]
        if not Path("/proc", pid).exists():
            shutil.rmtree(path, ignore_errors=True)


def _in_memory() -> Path:
    """Choose the file system in memory if it is there and has room."""
    shm = Path("/dev/shm")
    roomy = shm.is_dir() and shutil.disk_usage(shm).free > _ROOM_IN_MEMORY
    return shm if roomy else Path(gettempdir())


def _held_port() -> socket.socket:
    """Take a free port that stays ours while the API server is away.

    The API server shares it with this socket, which does not listen; nobody else gets it.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind((_ADDRESS, 0))
    return held
