"""Certificates of a control plane, made by the ``openssl`` program.

Why: Kubernetes knows its users by client certificates (common name and organisations), and a
test must be able to be any of them.  The standard library makes no certificates, and the
program is on every stock Debian.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_DAYS = 7
_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_NO_DEFAULTS = "[req]\ndistinguished_name = none\n[none]\n"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """One CA, and what it signs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._config = folder / "openssl.conf"
        self._config.write_text(_NO_DEFAULTS)
        self._made = 0
        usage = ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign"]
        self.ca = self._make("ca", subject="/CN=test-ca", extensions=usage)

    def serving(self, name: str, *, hosts: Sequence[str]) -> Certificate:
        """Make a server's certificate for host names and addresses."""
        names = ",".join(f"IP:{host}" if _is_address(host) else f"DNS:{host}" for host in hosts)
        return self._sign(name, "serverAuth", f"/CN={name}", [f"subjectAltName={names}"])

    def client(self, user: str, *, groups: Iterable[str] = ()) -> Certificate:
        """Make a user's certificate."""
        parts = [*(("O", group) for group in groups), ("CN", user)]
        subject = "".join(f"/{kind}={_escaped(value)}" for kind, value in parts)
        self._made += 1
        return self._sign(f"client-{self._made}", "clientAuth", subject, [])

    def signing_key(self, name: str) -> Certificate:
        """Make a key pair for tokens; the "certificate" is the public key."""
        pair = Certificate(self._folder / f"{name}.pub", self._folder / f"{name}.key")
        curve = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
        _openssl("genpkey", *curve, "-out", str(pair.key))
        _openssl("pkey", "-in", str(pair.key), "-pubout", "-out", str(pair.certificate))
        return pair

    def _sign(self, name: str, usage: str, subject: str, extensions: Sequence[str]) -> Certificate:
        extensions = [
            *extensions,
            "keyUsage=critical,digitalSignature",
            f"extendedKeyUsage={usage}",
        ]
        return self._make(name, subject=subject, extensions=extensions, signer=self.ca)

    def _make(
        self,
        name: str,
        *,
        subject: str,
        extensions: Sequence[str],
        signer: Certificate | None = None,
    ) -> Certificate:
        made = Certificate(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        signed = ["-CA", str(signer.certificate), "-CAkey", str(signer.key)] if signer else []
        all_have = ["subjectKeyIdentifier=hash", "authorityKeyIdentifier=keyid"]
        _openssl(
            *("req", "-x509", "-config", str(self._config), *_CURVE, "-days", str(_DAYS)),
            *("-subj", subject, "-keyout", str(made.key), "-out", str(made.certificate)),
            *signed,
            *(part for extension in [*extensions, *all_have] for part in ("-addext", extension)),
        )
        return made


def _is_address(host: str) -> bool:
    return host.replace(".", "").isdigit() or ":" in host


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("/", "\\/").replace("+", "\\+")


def _openssl(*arguments: str) -> None:
    command = ["openssl", *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")
