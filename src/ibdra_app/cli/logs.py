"""How the services log: for people, or one JSON object a line for machines."""

from __future__ import annotations

import logging
from enum import StrEnum

from ibdra_app.speaking import AboutFilter


class LogFormat(StrEnum):
    """What a line looks like."""

    TEXT = "text"
    JSON = "json"


def set_up_logs(form: LogFormat, *, verbose: bool) -> None:
    """Log to standard error, debug messages too if ``verbose``."""
    handler = logging.StreamHandler()
    handler.addFilter(AboutFilter())
    handler.setFormatter(_json() if form is LogFormat.JSON else _text())
    logging.basicConfig(level=logging.DEBUG if verbose else logging.INFO, handlers=[handler])


def _text() -> logging.Formatter:
    return logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s%(about)s")


def _json() -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter

    return JsonFormatter(
        ["asctime", "levelname", "name", "message", "claim", "pod", "devices"],
        rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        datefmt="%Y-%m-%dT%H:%M:%S%z",
    )
