"""Configuration of a node's programs: what differs from the defaults, and why."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contract.cluster.control_plane.images import PAUSE

# Pods get a network namespace with only the loopback in it, and an address that nobody has:
# the kubelet wants one.  The namespace itself, and that it is up, are real.
_CNI_PLUGIN = """\
#!/bin/sh
case "$CNI_COMMAND" in
ADD) echo '{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"'"$CNI_NETNS"'"}],'
     echo '"ips":[{"address":"192.0.2.1/32","interface":0}]}' ;;
VERSION) echo '{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}' ;;
esac
"""


def write_cni(folder: Path) -> None:
    """Write the network of pods: a plugin and the configuration that names it."""
    (folder / "bin").mkdir(parents=True)
    (folder / "net.d").mkdir()
    plugin = folder / "bin/nothing"
    plugin.write_text(_CNI_PLUGIN)
    plugin.chmod(0o755)
    network = {"cniVersion": "1.0.0", "name": "test", "plugins": [{"type": "nothing"}]}
    (folder / "net.d/test.conflist").write_text(json.dumps(network))


def write_containerd(folder: Path, *, runc: str, shims: Path, cdi: Path) -> Path:
    """Write containerd's configuration; give its path.

    Parameters
    ----------
    folder
        The node's.
    runc
        The runtime below it.
    shims
        Where its own other commands are.
    cdi
        Where it looks for CDI specs.
    """
    path = folder / "containerd.toml"
    path.write_text(f"""\
version = 3
root = "{folder}/containerd/root"
state = "{folder}/containerd/state"
disabled_plugins = ["io.containerd.nri.v1.nri"]
[grpc]
address = "{folder}/containerd.sock"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE}"
[plugins."io.containerd.cri.v1.runtime"]
cdi_spec_dirs = ["{cdi}"]
netns_mounts_under_state_dir = true
restrict_oom_score_adj = true
enable_unprivileged_ports = false
enable_unprivileged_icmp = false
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{folder}/cni/bin"]
conf_dir = "{folder}/cni/net.d"
use_internal_loopback = true
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
runtime_path = "{shims}/containerd-shim-runc-v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = "{runc}"
SystemdCgroup = false
""")
    return path


def write_kubelet(
    folder: Path,
    *,
    address: str,
    port: int,
    ca: Path,
    cgroup: str,
    feature_gates: Mapping[str, bool],
) -> Path:
    """Write the kubelet's configuration; give its path."""
    config: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": address,  # the API server asks there, for kubectl exec and logs
        "port": port,
        "healthzPort": 0,
        "authentication": {"x509": {"clientCAFile": str(ca)}, "anonymous": {"enabled": False}},
        "containerRuntimeEndpoint": f"unix://{folder}/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": cgroup,
        "failCgroupV1": False,
        "failSwapOn": False,
        "featureGates": dict(feature_gates),
        "podLogsDir": f"{folder}/pod-logs",
        # The machine's rules stay as they are; there are no services here.
        "makeIPTablesUtilChains": False,
        # A full disk is no reason to end a test's pods.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "1Mi", "nodefs.available": "0%"},
        # Tests wait for these.
        "nodeStatusUpdateFrequency": "1s",
        "syncFrequency": "5s",
        "volumePluginDir": f"{folder}/volume-plugins",
        "resolvConf": "",
        "logging": {"verbosity": 2},
    }
    path = folder / "kubelet.json"
    path.write_text(json.dumps(config, indent=1))
    return path
