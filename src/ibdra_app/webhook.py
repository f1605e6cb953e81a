"""The webhook from start to stop, wired by hand.

Why: a process of its own, next to the API server and far from any HCA.  It must not pay for
the node agent's wiring, gRPC or Kubernetes' client, so nothing of them is imported.

At the end it serves on for a while though it is not ready: those who balance the load do not
hear of it at once, and a request that finds nobody is somebody's refused claim.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

import msgspec

from ibdra_adapters.admission.certificates import LOOK_EVERY, CertificateFiles
from ibdra_adapters.admission.server import AdmissionServer, Observe, unobserved

_log = logging.getLogger(__name__)


class WebhookSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator can choose.

    ``bind`` is an address, None all of this machine's.  ``linger`` is how many seconds it
    serves on after it was told to stop, ``look_every`` how many pass between two looks at the
    certificate's files.
    """

    certificate: Path = Path("/etc/ibdra/webhook/tls.crt")
    key: Path = Path("/etc/ibdra/webhook/tls.key")
    port: int = 8443
    bind: str | None = None
    linger: float = 5.0
    look_every: float = LOOK_EVERY


async def run_webhook(
    settings: WebhookSettings,
    *,
    stop: asyncio.Event,
    at_once: asyncio.Event,
    observe: Observe = unobserved,
) -> None:
    """Serve until ``stop`` is set, and some seconds more unless ``at_once`` is.

    ``observe`` is told of each review.  Raises WebhookFailed if it cannot be started.
    """
    certificates = CertificateFiles(settings.certificate, settings.key)
    async with AdmissionServer(
        certificates=certificates, port=settings.port, bind=settings.bind, observe=observe
    ) as server:
        _log.info("ready: reviews at port %d", server.port)
        watching = asyncio.create_task(certificates.watch(settings.look_every))
        try:
            await _first_of(stop, watching)
            _log.info("stopping")
            server.retire()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(settings.linger):
                    await at_once.wait()
        finally:
            watching.cancel()
    _log.info("stopped")


async def _first_of(stop: asyncio.Event, watching: asyncio.Task[None]) -> None:
    """Wait for the stop; if nobody looks at the certificate any more, end with the error."""
    waiting = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({waiting, watching}, return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            watching.result()
    finally:
        waiting.cancel()
