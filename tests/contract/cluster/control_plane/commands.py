"""Command lines of the control plane's programs: what differs from the defaults, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from contract.cluster.control_plane.certificates import Certificate

CLIENTS = ("kube-controller-manager", "kube-scheduler")
SERVICE_ADDRESS = "10.96.0.1"
_SERVICE_RANGE = "10.96.0.0/16"
# Tests ask for much at once; the defaults would let controllers wait for their own limits.
_QPS, _BURST = 500, 1000


@dataclass(frozen=True, slots=True)
class Options:
    """What the one who starts a control plane chose."""

    binaries: Path
    etcd: Path
    feature_gates: Mapping[str, bool]
    controllers: tuple[str, ...]
    runtime_config: Mapping[str, bool]


def control_plane(
    options: Options,
    *,
    folder: Path,
    port: int,
    serving: Certificate,
    asking: Certificate,
    ca: Certificate,
    tokens: Certificate,
) -> dict[str, list[str]]:
    """Give each program's command line, in the order they start."""
    return {
        "etcd": _etcd(options, folder=folder),
        "kube-apiserver": [
            *_api_server(options, folder=folder, port=port),
            f"--tls-cert-file={serving.certificate}",
            f"--tls-private-key-file={serving.key}",
            f"--kubelet-client-certificate={asking.certificate}",
            f"--kubelet-client-key={asking.key}",
            f"--client-ca-file={ca.certificate}",
            f"--service-account-key-file={tokens.certificate}",
            f"--service-account-signing-key-file={tokens.key}",
        ],
        "kube-controller-manager": [
            *_controller_manager(options, folder=folder),
            f"--root-ca-file={ca.certificate}",
            f"--service-account-private-key-file={tokens.key}",
        ],
        "kube-scheduler": _scheduler(options, folder=folder),
    }


def _etcd(options: Options, *, folder: Path) -> list[str]:
    # Unix sockets: no port can be taken by somebody else between choosing and listening.
    client, peer = f"unix://{folder}/etcd.sock", f"unix://{folder}/etcd-peer.sock"
    return [
        str(options.etcd),
        "--name=test",
        f"--data-dir={folder}/etcd",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=test={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _api_server(options: Options, *, folder: Path, port: int) -> list[str]:
    return [
        f"{options.binaries}/kube-apiserver",
        f"--etcd-servers=unix://{folder}/etcd.sock",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        "--permit-port-sharing",  # the port is held for the time that the server is away
        "--endpoint-reconciler-type=none",  # an Endpoints object must not have this address
        # There is no kube-proxy: webhooks' Services are asked at their endpoints.
        "--enable-aggregator-routing",
        "--kubelet-preferred-address-types=InternalIP",
        f"--cert-dir={folder}/pki",
        f"--service-cluster-ip-range={_SERVICE_RANGE}",
        "--service-account-issuer=https://kubernetes.default.svc",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged",  # drivers' DaemonSets may ask for it
        *_switches("--runtime-config", options.runtime_config),
        *_switches("--feature-gates", options.feature_gates),
    ]


def _controller_manager(options: Options, *, folder: Path) -> list[str]:
    return [
        f"{options.binaries}/kube-controller-manager",
        f"--kubeconfig={folder}/kube-controller-manager.kubeconfig",
        f"--controllers={','.join(options.controllers)}",
        "--use-service-account-credentials",
        "--leader-elect=false",
        "--secure-port=0",
        f"--kube-api-qps={_QPS}",
        f"--kube-api-burst={_BURST}",
        # A test's node has no kubelet that would tell it lives.
        "--node-monitor-grace-period=24h",
        "--node-monitor-period=1s",
        *_switches("--feature-gates", options.feature_gates),
    ]


def _scheduler(options: Options, *, folder: Path) -> list[str]:
    connection = {"kubeconfig": f"{folder}/kube-scheduler.kubeconfig"}
    config = {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {**connection, "qps": _QPS, "burst": _BURST},
        "leaderElection": {"leaderElect": False},
        "podInitialBackoffSeconds": 1,
        "podMaxBackoffSeconds": 2,
    }
    path = folder / "kube-scheduler.json"
    path.write_text(json.dumps(config))
    return [
        f"{options.binaries}/kube-scheduler",
        f"--config={path}",
        "--secure-port=0",
        *_switches("--feature-gates", options.feature_gates),
    ]


def _switches(flag: str, values: Mapping[str, bool]) -> list[str]:
    """Write a map of switches, which an empty one must not do."""
    pairs = ",".join(f"{name}={str(value).lower()}" for name, value in values.items())
    return [f"{flag}={pairs}"] if pairs else []
