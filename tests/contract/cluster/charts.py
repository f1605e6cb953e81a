"""Helm, as operators use it: rendered, installed, removed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from contract.cluster.control_plane import building
from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.running import ControlPlane
from unit.docs.pages import typed_lines

Json = dict[str, Any]
ROOT = Path(__file__).parents[3]
CHART = ROOT / "deploy/helm/ibdra"
RELEASE = "dra-ib-driver"

AUTHORITY = "-----BEGIN CERTIFICATE-----\nQ0E=\n-----END CERTIFICATE-----\n"

VALUES: dict[str, Json] = {
    "defaults": {},
    "bare metal": {
        "kubeletPlugin": {
            "numVFs": 8,
            "pfs": [{"pattern": "0000:3b:00.*", "numVFs": 4}],
            "guids": {"toml": '[pf."0000:3b:00.0"]\n0 = "02:00:00:00:00:00:00:01"\n'},
            "rdmaIsolation": "exclusive",
            "unhealthyTaint": "NoExecute",
            "umad": True,
            "counters": False,
            "verbose": True,
        },
    },
    "virtual machines": {
        "kubeletPlugin": {"privileged": True, "health": {"address": "127.0.0.1"}},
        "webhook": {"enabled": False},
        "admissionPolicy": {"enabled": False},
    },
    "simulated": {"kubeletPlugin": {"simulate": "dgx-h100", "extraArgs": ["--no-counters"]}},
    "everything": {
        "commonLabels": {"team": "fabric"},
        "imagePullSecrets": [{"name": "pull"}],
        "image": {"digest": "sha256:" + "0" * 64},
        "deviceClasses": {"extendedResourceNames": {"vf": "example.com/vf"}},
        "webhook": {
            "failurePolicy": "Fail",
            "networkPolicy": {"enabled": True},
            "namespaceSelector": {"matchLabels": {"ib": "yes"}},
            "hostNetwork": True,
            "verbose": True,
        },
        "monitoring": {
            "serviceMonitor": {"enabled": True, "interval": "30s"},
            "prometheusRule": {
                "enabled": True,
                "demandExclusive": True,
                "alertLabels": {"team": "fabric"},
            },
            "dashboard": {"enabled": True},
        },
    },
    "cert-manager": {"webhook": {"certificate": {"mode": "certManager"}}},
    "own secret": {
        "webhook": {
            "certificate": {"mode": "secret", "existingSecret": "own", "caBundle": AUTHORITY},
            "onlyIbConfigs": False,
            "replicas": 1,
        },
        "fullnameOverride": "ib",
    },
    "webhook only": {"kubeletPlugin": {"enabled": False}, "deviceClasses": {"create": False}},
}


class Helm:
    """Runs the program.  Raises building.Lacking where it cannot be built."""

    def __init__(self, folder: Path, *, kubeconfig: Path | None = None) -> None:
        self._program = building.commands(building.helm()) / "helm"
        self._folder = folder
        kept = {"HOME": str(folder), "PATH": os.environ["PATH"]}
        self._environment = kept | ({"KUBECONFIG": str(kubeconfig)} if kubeconfig else {})

    def __call__(self, *arguments: str, values: Json | None = None, fails: bool = False) -> str:
        """Run one command; give what it printed, its complaints if it is to fail."""
        given: list[str] = []
        if values is not None:
            path = self._folder / "values.yaml"
            path.write_text(yaml.safe_dump(values))
            given = ["--values", str(path)]
        done = subprocess.run(
            [self._program, *arguments, *given],
            env=self._environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert fails == bool(done.returncode), done.stderr[-4000:]
        return done.stderr if fails else done.stdout

    def rendered(self, values: Json, *, version: str, namespace: str) -> list[Json]:
        """Give the objects that would be sent to a cluster of this version."""
        text = self(
            "template",
            RELEASE,
            str(CHART),
            f"--namespace={namespace}",
            f"--kube-version={version}",
            values=values,
        )
        return [each for each in yaml.safe_load_all(text) if each]


def crd(group: str, version: str, kind: str) -> Json:
    """Describe a kind of others that keeps whatever it is given."""
    plural = f"{kind.lower()}s"
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [{"name": version, "served": True, "storage": True, "schema": schema}],
        },
    }


FOREIGN = (
    ("monitoring.coreos.com", "v1", "ServiceMonitor"),
    ("monitoring.coreos.com", "v1", "PrometheusRule"),
    ("cert-manager.io", "v1", "Issuer"),
    ("cert-manager.io", "v1", "Certificate"),
)


def arguments_of(objects: list[Json], kind: str) -> list[list[str]]:
    """List the command lines of a workload's containers, first ones first."""
    found = next(each for each in objects if each["kind"] == kind)["spec"]["template"]["spec"]
    return [each["args"] for each in (*found.get("initContainers", ()), *found["containers"])]


def agent_kubeconfig(
    helm: Helm, admin: Admin, plane: ControlPlane, *, namespace: str, node: str
) -> Path:
    """Install the chart's rights; give the kubeconfig of an agent's pod on the node.

    The token's pod is no real one: nothing runs there.  :func:`remove_rights` undoes it.
    """
    rights = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding")
    for each in helm.rendered({}, version=plane.version, namespace=namespace):
        if each["kind"] in rights or each["kind"].startswith("ValidatingAdmissionPolicy"):
            admin.apply(each)
    account = f"{RELEASE}-kubelet-plugin"
    pod = admin.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "agent", "namespace": namespace},
            "spec": {
                "serviceAccountName": account,
                "nodeName": node,
                "containers": [{"name": "agent", "image": "none.invalid/none"}],
            },
        }
    )
    bound = ("agent", pod["metadata"]["uid"])
    return plane.service_account_kubeconfig(namespace, account, pod=bound)


def remove_rights(admin: Admin) -> None:
    """Remove what belongs to no namespace."""
    for kind in (
        *("ValidatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy"),
        *("ClusterRoleBinding", "ClusterRole"),
    ):
        admin.delete(kind, f"{RELEASE}-kubelet-plugin")


def text_of(value: object) -> str:
    """Give something as one text, to look for words in."""
    return json.dumps(value)


def install_line(namespace: str) -> tuple[str, ...]:
    """Give the documentation's line, without its values."""
    (line,) = typed_lines("docs/user/install.md", program="helm upgrade")
    helm, *words = line.partition(" --set ")[0].split()
    assert ("helm", RELEASE) == (helm, words[words.index("--namespace") + 1])
    words[words.index("--namespace") + 1] = namespace
    return tuple(words)


@contextmanager
def installed(helm: Helm, namespace: str, *options: str) -> Iterator[None]:
    """Have the release installed by the line of the documentation."""
    helm(*install_line(namespace), *options)
    try:
        yield
    finally:
        helm("uninstall", RELEASE, "--namespace", namespace)
