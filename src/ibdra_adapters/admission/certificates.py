"""The webhook's certificate, read anew whenever its files change.

Why: certificates are renewed while the webhook runs, by a tool that knows nothing of it, and
the files are swapped or half written at any moment.  A pair that does not fit changes
nothing: the one before stays in use, and the log says so.  Every handshake gets the latest.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path

from ibdra_domain.errors import WebhookFailed

LOOK_EVERY = 5.0
"""Seconds between two looks at the files; the kubelet itself takes up to a minute."""

_Mark = tuple[tuple[int, int, int, int], ...]
_log = logging.getLogger(__name__)


class CertificateFiles:
    """A PEM certificate (with its chain) and its key, as a context for a server.

    Raises WebhookFailed if the pair cannot be used at the start: then there is none before.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._paths = (certificate, key)
        self._seen = self._look()
        self._trouble = ""
        self.context = self._latest = self._load()
        self.context.sni_callback = self._choose

    def refresh(self) -> bool:
        """Load the pair if the files changed; tells whether another one is in use now.

        Never raises: what cannot be loaded is logged once, and tried again at the next call.
        """
        seen = self._look()
        if seen == self._seen and not self._trouble:
            return False
        try:
            self._latest = self._load()
        except WebhookFailed as error:
            if (str(error), seen) != (self._trouble, self._seen):
                _log.error("the certificate in use stays: %s", error)
            self._trouble, self._seen = str(error), seen
            return False
        self._trouble, self._seen = "", seen
        _log.info("new certificate from %s", self._paths[0])
        return True

    async def watch(self, every: float = LOOK_EVERY) -> None:
        """Refresh again and again, until cancelled."""
        while True:
            await asyncio.sleep(every)
            await asyncio.to_thread(self.refresh)

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _own: ssl.SSLContext) -> None:
        """Give a handshake the latest pair; called for clients that name no server as well."""
        connection.context = self._latest

    def _load(self) -> ssl.SSLContext:
        """Make a context with the files as they are; OpenSSL checks that they fit together."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        certificate, key = self._paths
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise WebhookFailed(
                f"certificate {certificate} with key {key} cannot be used ({_reason(error)})",
                remedy="give PEM files of a certificate, its chain and its key without a password",
            ) from error
        return context

    def _look(self) -> _Mark:
        """Tell one state of the files from another; links are followed, as volumes swap them."""
        marks = []
        for path in self._paths:
            try:
                found = path.stat()
            except OSError:
                marks.append((0, 0, 0, 0))
            else:
                marks.append((found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size))
        return tuple(marks)


def _no_password() -> str:
    """Fail where OpenSSL would ask at the terminal."""
    raise ValueError("the key has a password")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "no PEM data").lower().replace("_", " ")
    return (getattr(error, "strerror", None) or str(error)).lower()
