"""The program ``ibdra webhook``, and the configuration by which a real API server asks it.

Why: whether the configuration in the user's guide works is only seen on an API server, so it
is read from there.  Only what it is asked about is narrowed to one namespace and one label, so
that nothing else on the server waits for it.
"""

from __future__ import annotations

import base64
import re
import shutil
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import yaml

from contract.cluster.control_plane.admin import Admin
from contract.cluster.control_plane.api import ApiError
from contract.cluster.control_plane.certificates import Authority, Certificate
from contract.cluster.control_plane.objects import JSON_PATCH, wait_until
from contract.cluster.control_plane.processes import Process, Starter
from unit.domain.admission_facts import BAD, an_object, an_opaque

Json = dict[str, Any]
PROGRAM = Path(sys.executable).with_name("ibdra")
GUIDE = Path(__file__).parents[3] / "docs/user/webhook.md"
LABEL = "asks-the-webhook-of"
PATIENCE = 20.0
_READY = re.compile(r"ready: reviews at port (\d+)")


class RunningWebhook:
    """A webhook that an API server asks about one namespace, inside a ``with`` block."""

    def __init__(self, admin: Admin, namespace: str, folder: Path, *, policy: str) -> None:
        self.admin, self.namespace, self.name = admin, namespace, f"ibdra-{namespace}"
        self.folder, self._policy = folder, policy
        self.certificate = Certificate(folder / "tls.crt", folder / "tls.key")
        self._starter = Starter()
        self._process: Process
        self._port = 0

    def __enter__(self) -> Self:
        self.authority = new_authority(self.folder / "first")
        self.install(self.authority)
        self.start()
        self.admin.create(self._configuration())
        self.wait_judged()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.admin.delete("ValidatingWebhookConfiguration", self.name)
        self._process.kill()
        self._starter.close()

    @property
    def port(self) -> int:
        """Where it serves; the same after it was killed."""
        return self._port

    @property
    def log(self) -> str:
        """What this start of it has said."""
        return self._process.log.read_text() if self._process.log.exists() else ""

    def install(self, authority: Authority) -> None:
        """Put a certificate where it looks, over the one before."""
        made = authority.serving("webhook", hosts=["127.0.0.1"])
        shutil.copy(made.key, self.certificate.key)
        shutil.copy(made.certificate, self.certificate.certificate)

    def start(self) -> None:
        """Start it, on the port that it had; return when it serves."""
        command = [
            *(str(PROGRAM), "webhook", "--bind=127.0.0.1", f"--port={self._port}"),
            *(f"--cert={self.certificate.certificate}", f"--key={self.certificate.key}"),
        ]
        name = f"webhook-{uuid4().hex[:8]}"
        self._process = Process(name, command, logs=self.folder, starter=self._starter)
        self._process.start()
        found = wait_until(
            lambda: _READY.search(self.log), what="the webhook", last=self._process.tail
        )
        self._port = int(found[1])

    def kill(self) -> None:
        """Let it be gone at once; the configuration stays."""
        self._process.kill()

    def change(self, field: str, value: str) -> None:
        """Change a field of the configuration."""
        path = f"/webhooks/0/{field}"
        self.admin.patch(
            "ValidatingWebhookConfiguration",
            self.name,
            [{"op": "replace", "path": path, "value": value}],
            content_type=JSON_PATCH,
        )

    def an_object(self, kind: str, version: str, *, config: Any, **fields: Any) -> Json:
        """Make an object that the server asks about, with a name that nobody has."""
        made = an_object(kind, version, config=config, name=f"job-{uuid4().hex[:8]}", **fields)
        made["metadata"]["labels"] = {LABEL: self.namespace}
        if "namespace" in made["metadata"]:
            made["metadata"]["namespace"] = self.namespace
        return made

    def refusal(self, body: Json) -> ApiError | None:
        """Create an object; give the server's no if it was one."""
        try:
            self.admin.create(body)
        except ApiError as error:
            return error
        return None

    def wait_said(self, text: str) -> ApiError:
        """Wait until a bad claim is refused with some text: a changed configuration works then."""
        told: list[ApiError | None] = []

        def refused() -> ApiError | None:
            found = self.refusal(
                self.an_object("ResourceClaim", "v1", config=[an_opaque(BAD)]),
            )
            told[:] = [found]
            return found if found is not None and text in str(found) else None

        return wait_until(refused, what=f"a refusal: {text}", seconds=PATIENCE, last=lambda: told)

    def wait_judged(self) -> None:
        """Wait until a bad claim is refused by the webhook itself."""
        self.wait_said("denied the request")

    def wait_passed(self) -> None:
        """Wait until a bad claim passes."""
        wait_until(
            lambda: (
                not self.refusal(
                    self.an_object("ResourceClaim", "v1", config=[an_opaque(BAD)]),
                )
            ),
            what="a bad claim, let pass",
            seconds=PATIENCE,
        )

    def _configuration(self) -> Json:
        """Take the guide's configuration; change where it is and what it is asked about."""
        blocks = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
        (text,) = [each for each in blocks if "ValidatingWebhookConfiguration" in each]
        made: Json = yaml.safe_load(text)
        made["metadata"]["name"] = self.name
        (webhook,) = made["webhooks"]
        at = webhook["clientConfig"]["service"]["path"]
        webhook |= {
            "failurePolicy": self._policy,
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.namespace}},
            # Classes are in no namespace.
            "objectSelector": {"matchLabels": {LABEL: self.namespace}},
            "clientConfig": {
                "url": f"https://127.0.0.1:{self._port}{at}",
                "caBundle": bundle(self.authority),
            },
        }
        return made


def new_authority(folder: Path) -> Authority:
    """Make an authority that nobody knows yet."""
    folder.mkdir()
    return Authority(folder)


def bundle(*authorities: Authority) -> str:
    """Give ``caBundle`` of some authorities."""
    texts = [each.ca.certificate.read_bytes() for each in authorities]
    return base64.b64encode(b"".join(texts)).decode()
