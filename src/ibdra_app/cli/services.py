"""Options of the commands that run until they are stopped: metrics and logs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ibdra_app.cli.logs import LogFormat

CommandT = TypeVar("CommandT", bound=Callable[..., Any])


def service_options(command: CommandT) -> CommandT:
    """Add ``--metrics-port``, ``--metrics-bind`` and ``--log-format``."""
    for option in (
        click.option(
            "--log-format",
            type=click.Choice([form.value for form in LogFormat]),
            default=LogFormat.TEXT.value,
            show_default=True,
            help="Lines for people, or one JSON object each.",
        ),
        click.option(
            "--metrics-bind",
            metavar="ADDRESS",
            help="One address to serve metrics at; else all there are.",
        ),
        click.option(
            "--metrics-port",
            type=click.IntRange(0, 0xFFFF),
            metavar="PORT",
            help="Serve Prometheus metrics there, over HTTP, at /metrics; else none.",
        ),
    ):
        command = option(command)
    return command
