"""The Helm chart: what it renders is taken by real API servers, and its rights are enough."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from contract.cluster.charts import (
    CHART,
    FOREIGN,
    RELEASE,
    ROOT,
    VALUES,
    Helm,
    arguments_of,
    crd,
    installed,
    text_of,
)
from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.api import ApiError
from contract.cluster.control_plane.objects import wait_until
from contract.cluster.control_plane.running import ControlPlane
from ibdra_app.cli.install_hook import command as install_hook
from ibdra_app.cli.run import command as run
from ibdra_app.cli.webhook import command as webhook

Json = dict[str, Any]
_COMMANDS = {"run": run, "webhook": webhook, "install-hook": install_hook}
_METRIC = re.compile(r"\bibdra_[a-z_]+")
every_set = pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)


@pytest.fixture(scope="module")
def foreign(control_plane: ControlPlane) -> Iterator[None]:
    """Have the kinds of the Prometheus operator and of cert-manager."""
    admin = Admin.of(control_plane.kubeconfig)
    names = [admin.apply(crd(*each))["metadata"]["name"] for each in FOREIGN]
    for name in names:
        admin.wait_for(
            "CustomResourceDefinition",
            name,
            lambda seen: "Established" in text_of(seen.get("status", {}).get("conditions")),
        )
    yield
    for name in names:
        admin.delete("CustomResourceDefinition", name)


def test_it_passes_helms_own_rules(helm: Helm) -> None:
    """With its default values and its schema, warnings included."""
    assert "0 chart(s) failed" in helm("lint", "--strict", str(CHART))


@every_set
def test_the_programs_take_their_arguments(helm: Helm, values: Json) -> None:
    """Each container's arguments are options of its command."""
    objects = helm.rendered(values, version="1.37.0", namespace="ib")
    kinds = [each["kind"] for each in objects]
    lines = [line for kind in ("DaemonSet", "Deployment") if kind in kinds
             for line in arguments_of(objects, kind)]  # fmt: skip
    assert lines
    for name, *options in lines:
        told = [each.replace("$(HOST_IP)", "192.0.2.7") for each in options]
        told = [re.sub(r"=(/etc/ibdra/\S+)$", f"={CHART}/Chart.yaml", each) for each in told]
        told = [re.sub(r"^--source=.*", f"--source={CHART}/Chart.yaml", each) for each in told]
        with click.Context(_COMMANDS[name]) as context:
            _COMMANDS[name].parse_args(context, told)


@pytest.mark.usefixtures("foreign")
@every_set
def test_every_object_is_taken_by_a_real_server(
    helm: Helm, admin: Admin, control_plane: ControlPlane, namespace: str, values: Json
) -> None:
    """No unknown field, no wrong type, nothing that the server would refuse."""
    version = control_plane.version
    objects = helm.rendered(values, version=version, namespace=namespace)
    assert objects
    made: list[Json] = []
    try:
        for each in sorted(objects, key=lambda o: o["kind"] != "ServiceAccount"):
            made.append(admin.apply(each))  # noqa: PERF401 - what was made before a failure goes
    finally:
        for each in made:
            admin.delete(
                each["kind"], each["metadata"]["name"], namespace=each["metadata"].get("namespace")
            )


def test_the_install_line_works_and_an_upgrade_keeps_the_certificate(
    tmp_path: Path, admin: Admin, control_plane: ControlPlane
) -> None:
    """As the README has it; what is removed leaves nothing but the namespace."""
    space = RELEASE
    helm = Helm(tmp_path, kubeconfig=control_plane.kubeconfig)
    try:
        with installed(helm, space, "--set", "kubeletPlugin.numVFs=8"):
            secret = admin.get("Secret", f"{RELEASE}-webhook-tls", namespace=space)["data"]
            agent = admin.get("DaemonSet", f"{RELEASE}-kubelet-plugin", namespace=space)
            assert "--num-vfs=8" in text_of(agent)
            with installed(helm, space, "--set", "kubeletPlugin.numVFs=4"):
                kept = admin.get("Secret", f"{RELEASE}-webhook-tls", namespace=space)["data"]
                hook = admin.get("ValidatingWebhookConfiguration", f"{RELEASE}-webhook")
                assert secret == kept
                assert secret["ca.crt"] == hook["webhooks"][0]["clientConfig"]["caBundle"]
            helm("upgrade", "-i", "--namespace", space, RELEASE, "deploy/helm/ibdra")
        kinds = (
            *("ClusterRole", "ClusterRoleBinding", "DeviceClass"),
            *("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"),
            "ValidatingWebhookConfiguration",
        )
        left = [
            (kind, each["metadata"]["name"])
            for kind in kinds
            for each in admin.list(kind)
            if each["metadata"].get("labels", {}).get("app.kubernetes.io/instance") == RELEASE
        ]
        assert [] == left
        assert () == tuple(admin.list("Secret", namespace=space))
    finally:
        admin.delete_namespace(space)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"kubeletPlugin": {"numVfs": 8}}, "numVfs"),
        ({"kubeletPlugin": {"numVFs": -1}}, "/kubeletPlugin/numVFs"),
        ({"kubeletPlugin": {"rdmaIsolation": "strict"}}, "/kubeletPlugin/rdmaIsolation"),
        ({"kubeletPlugin": {"capabilities": ["CAP_NET_ADMIN"]}}, "/kubeletPlugin/capabilities/0"),
        ({"kubeletPlugin": {"capabilities": ["ALL"]}}, "/kubeletPlugin/capabilities/0"),
        ({"kubeletPlugin": {"resources": {"limit": {}}}}, "limit"),
        ({"kubeletPlugin": {"resources": {"limits": {"memory": "1 GB"}}}}, "/limits/memory"),
        ({"kubeletPlugin": {"tolerations": [{"tolerationsSeconds": 1}]}}, "tolerationsSeconds"),
        ({"kubeletPlugin": {"tolerations": [{"operator": "Exist"}]}}, "/tolerations/0/operator"),
        ({"kubeletPlugin": {"livenessProbe": {"httpGet": {}}}}, "httpGet"),
        ({"kubeletPlugin": {"seccompProfile": {"type": "Default"}}}, "/seccompProfile/type"),
        ({"kubeletPlugin": {"updateStrategy": {"rollingUpdate": {"surge": 1}}}}, "surge"),
        (
            {"kubeletPlugin": {"updateStrategy": {"rollingUpdate": {"maxSurge": "all"}}}},
            "/rollingUpdate/maxSurge",
        ),
        ({"kubeletPlugin": {"nodeSelector": {"ib": True}}}, "/kubeletPlugin/nodeSelector/ib"),
        ({"kubeletPlugin": {"extraEnv": [{"nam": "A"}]}}, "nam"),
        ({"webhook": {"certificate": {"mode": "none"}}}, "/webhook/certificate/mode"),
        ({"webhook": {"certificate": {"caBundle": "TFMwdA=="}}}, "/webhook/certificate/caBundle"),
        ({"webhook": {"certificate": {"mode": "secret"}}}, "existingSecret"),
        ({"webhook": {"certificate": {"certManager": {"issuerRef": {"kind": "Issuer"}}}}}, "name"),
        ({"webhook": {"namespaceSelector": {"ib": "yes"}}}, "ib"),
        ({"webhook": {"failurePolicy": "Fail", "onlyIbConfigs": False}}, "onlyIbConfigs"),
        (
            {"kubeletPlugin": {"guids": {"toml": "a", "existingConfigMap": "b"}}},
            "kubeletPlugin.guids",
        ),
        ({"monitoring": {"serviceMonitor": {"interval": "often"}}}, "/serviceMonitor/interval"),
        ({"kubeletPlugin": {"metrics": {"port": 9178}}}, "two different ports"),
        (
            {"kubeletPlugin": {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 1}}}},
            "one of maxSurge and maxUnavailable must be 0",
        ),
    ],
    ids=text_of,
)
def test_a_wrong_value_is_refused_by_its_name(helm: Helm, wrong: Json, named: str) -> None:
    """Before anything is sent."""
    assert named in helm("template", "x", str(CHART), values=wrong, fails=True)


def test_what_operators_set_is_taken(helm: Helm) -> None:
    """Values of each shape that the schema closes reach the objects as they were given."""
    toleration = {"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}
    plugin: Json = {
        "resources": {"limits": {"memory": "1.5Gi", "cpu": 2}, "requests": {"cpu": "100m"}},
        "tolerations": [toleration | {"tolerationSeconds": 60}],
        "updateStrategy": {"rollingUpdate": {"maxSurge": "10%", "maxUnavailable": 0}},
        "seccompProfile": {"type": "Localhost", "localhostProfile": "ibdra.json"},
        "seLinuxOptions": {"type": "spc_t", "level": "s0"},
        "extraEnv": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "livenessProbe": {"failureThreshold": 9},
        "affinity": {"nodeAffinity": {}},
        "metrics": {"address": "::"},
        "guids": {"toml": "  # indented\n"},
        "readinessProbe": None,
    }
    objects = helm.rendered({"kubeletPlugin": plugin}, version="1.37.0", namespace="ib")
    agent = next(each for each in objects if each["kind"] == "DaemonSet")
    said = text_of(agent)
    assert all(
        isinstance(each, str) for line in arguments_of(objects, "DaemonSet") for each in line
    )
    (guids,) = (each for each in objects if each["kind"] == "ConfigMap")
    assert {"guids.toml": "  # indented\n"} == guids["data"]
    for given in ("1.5Gi", "10%", "ibdra.json", "spc_t", "metadata.name", "nodeAffinity"):
        assert given in said
    assert (
        9 == agent["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["failureThreshold"]
    )


def test_no_privilege_is_asked_for_unless_it_is_wanted(helm: Helm) -> None:
    """Three capabilities by name, and all others dropped."""
    for wanted in (False, True):
        values = {"kubeletPlugin": {"privileged": wanted}}
        objects = helm.rendered(values, version="1.37.0", namespace="ib")
        pod = next(o for o in objects if o["kind"] == "DaemonSet")["spec"]["template"]["spec"]
        context = pod["containers"][0]["securityContext"]
        assert wanted == context.get("privileged", False)
        if not wanted:
            named = {"drop": ["ALL"], "add": ["NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"]}
            assert named == context["capabilities"]


def test_no_other_drivers_volumes_are_mounted(helm: Helm) -> None:
    """CSI drivers mount below plugins: a copy of these mounts would keep them in use."""
    for objects in (helm.rendered(v, version="1.37.0", namespace="ib") for v in VALUES.values()):
        for pod in (o["spec"]["template"]["spec"] for o in objects if o["kind"] == "DaemonSet"):
            mounted = {
                mount["mountPath"]
                for each in (*pod["containers"], *pod["initContainers"])
                for mount in each.get("volumeMounts", ())
            }
            assert "/var/lib/kubelet/plugins/ib.sigs.k8s.io" in mounted
            assert not {"/var/lib/kubelet", "/var/lib/kubelet/plugins"} & mounted


def test_its_classes_are_those_of_the_examples(helm: Helm) -> None:
    """Same names, same selectors."""

    def chosen(objects: list[Json]) -> dict[str, str]:
        return {
            each["metadata"]["name"]: " ".join(
                each["spec"]["selectors"][0]["cel"]["expression"].split()
            )
            for each in objects
            if each["kind"] == "DeviceClass"
        }

    examples = list(yaml.safe_load_all((ROOT / "examples/device-classes.yaml").read_text()))
    assert chosen(examples) == chosen(helm.rendered({}, version="1.37.0", namespace="ib"))


@pytest.mark.parametrize(
    ("version", "granular"), [("1.34.4", False), ("1.36.0", True), ("1.37.2", True)]
)
def test_the_granular_right_goes_by_the_version(
    helm: Helm, version: str, *, granular: bool
) -> None:
    """A server that does not know it is not asked for it."""
    objects = helm.rendered({}, version=version, namespace="ib")
    role = next(each for each in objects if each["kind"] == "ClusterRole")
    assert granular == ("resourceclaims/driver" in text_of(role))


def a_slice(node: str, *, driver: str = "ib.sigs.k8s.io") -> Json:
    """Describe an empty slice of a node."""
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {"name": f"{node}-{driver}"},
        "spec": {
            "driver": driver,
            "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
            "devices": [],
        },
    }


def test_an_agent_may_do_its_work_and_no_more(
    admin: Admin, agents_kubeconfig: Path, namespace: str, node: str
) -> None:
    """Its own node's slices; not another node's, another driver's, nor anybody's secrets."""
    other = admin.register_node(f"{node}-x")["metadata"]["name"]
    theirs = admin.create(a_slice(other))
    ours = Admin.of(agents_kubeconfig)
    try:

        def is_held() -> bool:  # a policy counts some moments after it is made
            try:
                ours.create(a_slice(other, driver="y.example.com"))
            except ApiError as error:
                return "of that node only" in str(error)
            admin.delete("ResourceSlice", f"{other}-y.example.com")
            return False

        wait_until(is_held, what="the policy counts")
        made = ours.create(a_slice(node))
        made["metadata"]["labels"] = {"a": "b"}
        ours.replace(made)
        ours.delete("ResourceSlice", made["metadata"]["name"])
        ours.get("Node", node)
        with pytest.raises(ApiError, match=f"agent on node {node} may write"):
            ours.delete("ResourceSlice", theirs["metadata"]["name"])
        with pytest.raises(ApiError, match=r"of the driver ib\.sigs\.k8s\.io only"):
            ours.create(a_slice(node, driver="x.example.com"))
        for kind, space in (("Secret", namespace), ("Pod", namespace), ("Node", None)):
            with pytest.raises(ApiError, match="cannot list"):
                ours.list(kind, namespace=space)
    finally:
        admin.delete("ResourceSlice", theirs["metadata"]["name"])
        admin.delete("Node", other)


def test_dashboard_and_alerts_ask_for_metrics_that_there_are() -> None:
    """Each name is in the table of docs/user/monitoring.md, which a test holds to the program."""
    known = set(_METRIC.findall((ROOT / "docs/user/monitoring.md").read_text()))
    texts = [*CHART.glob("*.yaml"), *(CHART / "dashboards").glob("*.json")]
    asked = {name for path in texts for name in _METRIC.findall(path.read_text())}
    plain = {re.sub(r"_(bucket|count|sum)$", "", name) for name in asked}
    assert len(plain) > 8
    assert set() == plain - {re.sub(r"_(bucket|count|sum)$", "", name) for name in known}


def test_the_chart_is_of_the_programs_version() -> None:
    """The image that it names by default is that of this tree."""
    project = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert project is not None
    assert project[1] == chart["version"] == chart["appVersion"]
