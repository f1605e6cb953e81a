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
    """Log to standard error, our own debug messages too if ``verbose``.

    Not those of libraries: gRPC and urllib3 write a line for each call that they are in.
    """
    handler = logging.StreamHandler()
    handler.addFilter(AboutFilter())
    handler.setFormatter(_json() if form is LogFormat.JSON else _text())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    if verbose:
        for package in ("ibdra_app", "ibdra_adapters", "ibdra_domain"):
            logging.getLogger(package).setLevel(logging.DEBUG)


def _text() -> logging.Formatter:
    return logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s%(about)s")


def _json() -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter

    return JsonFormatter(
        ["asctime", "levelname", "name", "message", "claim", "pod", "devices"],
        rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
        datefmt="%Y-%m-%dT%H:%M:%S%z",
    )
