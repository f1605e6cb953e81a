"""``ibdra webhook``: the validating webhook."""

from __future__ import annotations

from pathlib import Path

import click

from ibdra_app.webhook import WebhookSettings, run_webhook

_DEFAULTS = WebhookSettings()
_file = click.Path(path_type=Path, dir_okay=False)


@click.command("webhook")
@click.option(
    "--cert",
    "certificate",
    type=_file,
    default=_DEFAULTS.certificate,
    show_default=True,
    metavar="FILE",
    help="Its certificate and chain, PEM; read anew when it changes.",
)
@click.option(
    "--key",
    type=_file,
    default=_DEFAULTS.key,
    show_default=True,
    metavar="FILE",
    help="The certificate's key, PEM, without a password.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=_DEFAULTS.port,
    show_default=True,
    help="Where it serves reviews, and probes at /healthz and /readyz, over HTTPS.",
)
@click.option("--bind", metavar="ADDRESS", help="One address to serve at; else all there are.")
@click.option(
    "--linger",
    type=click.FloatRange(0, 600),
    default=_DEFAULTS.linger,
    show_default=True,
    metavar="SECONDS",
    help="How long it serves on, not ready, after SIGTERM; a second signal ends that.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log what passes too.")
def command(
    *, certificate: Path, key: Path, port: int, bind: str | None, linger: float, verbose: bool
) -> None:
    """Serve the validating webhook until SIGTERM or SIGINT.

    It refuses IbConfigs that a node would refuse, in ResourceClaims, templates and
    DeviceClasses.  Wants no access to the API server.
    """
    import asyncio
    import logging

    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    settings = WebhookSettings(
        certificate=certificate, key=key, port=port, bind=bind, linger=linger
    )
    asyncio.run(_until_stopped(settings))


async def _until_stopped(settings: WebhookSettings) -> None:
    import asyncio
    import signal

    stop, at_once = asyncio.Event(), asyncio.Event()

    def told() -> None:
        (at_once if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    await run_webhook(settings, stop=stop, at_once=at_once)
