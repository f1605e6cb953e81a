"""The webhook, asked by real API servers by the configuration that the guide gives."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.cluster.cluster_objects import a_pod
from contract.cluster.control_plane import building
from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.api import ApiError
from contract.cluster.control_plane.objects import wait_until
from contract.cluster.control_plane.running import ControlPlane
from contract.cluster.running_webhook import LABEL, RunningWebhook, bundle, new_authority
from ibdra_domain.manifest_rules import VERSIONS
from unit.domain.admission_facts import BAD, CONFIG, EVERY_SHAPE, an_opaque

OTHERS = an_opaque({"mtu": 9000, "what": ["they", "like"]}, driver="gpu.example.com")


@pytest.fixture(scope="module", params=building.kubernetes_minors())
def control_plane(request: pytest.FixtureRequest) -> Iterator[ControlPlane]:
    """Give a control plane of the module's own: one that serves the beta versions too."""
    betas = {f"resource.k8s.io/{each}": True for each in VERSIONS if "beta" in each}
    try:
        wanted = ControlPlane(request.param, runtime_config=betas)
    except building.Lacking as reason:
        pytest.skip(str(reason))
    with wanted as running:
        yield running


@pytest.fixture(scope="module")
def shared(
    control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningWebhook]:
    """Give a webhook that nobody harms."""
    admin = Admin.of(control_plane.kubeconfig)
    namespace, folder = admin.create_namespace(), tmp_path_factory.mktemp("webhook")
    with RunningWebhook(admin, namespace, folder, policy="Ignore") as running:
        yield running
    admin.delete_namespace(namespace)


@pytest.fixture
def webhook(admin: Admin, namespace: str, tmp_path: Path) -> Iterator[RunningWebhook]:
    """Give a webhook of the test's own, without which nothing passes."""
    with RunningWebhook(admin, namespace, tmp_path, policy="Fail") as running:
        yield running


@pytest.mark.parametrize(("kind", "version"), EVERY_SHAPE)
def test_bad_config_is_refused(shared: RunningWebhook, kind: str, version: str) -> None:
    """In every kind and version, with each problem at its field, as `kubectl` shows it."""
    refused = shared.refusal(shared.an_object(kind, version, config=[OTHERS, an_opaque(BAD)]))
    assert refused is not None
    said = refused.body["message"].splitlines()
    where = f"{CONFIG[kind]}[1].opaque.parameters"
    denied = 'admission webhook "ibconfig.ib.sigs.k8s.io" denied the request: 2 problems:'
    assert (422, denied) == (refused.code, said[0])
    assert said[1].startswith(f"* {where}.mtu: mtu 9000 is not an InfiniBand MTU: use one of ")
    assert said[2].startswith(f"* {where}.trafficclass: ")
    fields = [cause["field"] for cause in refused.body["details"]["causes"]]
    assert [f"{where}.mtu", f"{where}.trafficclass"] == fields


@pytest.mark.parametrize(("kind", "version"), EVERY_SHAPE)
@pytest.mark.parametrize(
    "config", [[an_opaque()], [OTHERS], []], ids=["good", "another driver's", "none"]
)
def test_the_rest_passes(shared: RunningWebhook, kind: str, version: str, config: Any) -> None:
    """Good IbConfigs, whatever other drivers take, and objects without any."""
    assert shared.refusal(shared.an_object(kind, version, config=config)) is None


@pytest.mark.parametrize("version", VERSIONS)
def test_update_is_judged_by_what_it_changes(shared: RunningWebhook, version: str) -> None:
    """A class may not become bad; a bad one from before may be changed elsewhere."""
    good = shared.admin.create(shared.an_object("DeviceClass", version, config=[an_opaque()]))
    bad = shared.an_object("DeviceClass", version, config=[an_opaque(BAD)])
    kind, name = f"resource.k8s.io/{version}/DeviceClass", good["metadata"]["name"]
    with pytest.raises(ApiError, match=r"spec\.config\[0\]\.opaque\.parameters\.mtu"):
        shared.admin.patch(kind, name, {"spec": bad["spec"]})
    labels = bad["metadata"].pop("labels")
    shared.admin.create(bad)  # the server does not ask about it
    labelled = shared.admin.patch(kind, bad["metadata"]["name"], {"metadata": {"labels": labels}})
    assert labels == labelled["metadata"]["labels"]


def test_claim_of_an_older_template_is_told_at_its_pod(shared: RunningWebhook) -> None:
    """The template was stored before; the claim made from it is refused in an event."""
    template = shared.an_object("ResourceClaimTemplate", "v1", config=[an_opaque(BAD)])
    template["spec"]["metadata"] = {"labels": template["metadata"].pop("labels")}
    assert {LABEL: shared.namespace} == template["spec"]["metadata"]["labels"]
    shared.admin.create(template)
    named = template["metadata"]["name"]
    shared.admin.create(a_pod("pod0", namespace=shared.namespace, template=named))

    def told() -> str | None:
        fields = "reason=FailedResourceClaimCreation,involvedObject.name=pod0"
        for event in shared.admin.list("Event", namespace=shared.namespace, fields=fields):
            return str(event["message"])
        return None

    message = wait_until(told, what="the event")
    assert "* spec.devices.config[0].opaque.parameters.mtu: mtu 9000" in message


def test_webhook_that_is_down(webhook: RunningWebhook) -> None:
    """Stops IbConfigs under `Fail` and nothing else, stops nothing under `Ignore`."""
    webhook.kill()
    ours = webhook.an_object("ResourceClaim", "v1", config=[an_opaque()])
    refused = webhook.refusal(ours)
    assert refused is not None
    assert 'failed calling webhook "ibconfig.ib.sigs.k8s.io"' in str(refused)
    assert "connect: connection refused" in str(refused)
    assert webhook.refusal(webhook.an_object("ResourceClaim", "v1", config=[OTHERS])) is None

    webhook.change("failurePolicy", "Ignore")
    webhook.wait_passed()
    webhook.start()
    webhook.wait_judged()
    assert webhook.refusal(ours) is None


def test_certificate_is_replaced_while_it_runs(webhook: RunningWebhook) -> None:
    """Authority and all, in the order that the guide gives; no review fails meanwhile."""
    address = ("127.0.0.1", webhook.port)
    first, second = webhook.authority, new_authority(webhook.folder / "second")
    served = ssl.get_server_certificate(address)
    webhook.change("clientConfig/caBundle", bundle(first, second))
    webhook.install(second)

    def replaced() -> bool:
        good = webhook.an_object("ResourceClaim", "v1", config=[an_opaque()])
        assert webhook.refusal(good) is None, "a review failed"
        return ssl.get_server_certificate(address) != served

    wait_until(replaced, what="the new certificate")
    # An authority that fits nothing, so that what is judged after it is by the second alone.
    webhook.change("clientConfig/caBundle", bundle(new_authority(webhook.folder / "third")))
    webhook.wait_said("x509: certificate signed by unknown authority")
    webhook.change("clientConfig/caBundle", bundle(second))
    webhook.wait_judged()
    assert "new certificate from" in webhook.log
