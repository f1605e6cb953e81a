"""Objects written as YAML that ``kubectl apply`` accepts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml


def to_yaml(documents: Iterable[Any]) -> str:
    """Write plain values as YAML documents, fields in the order given."""
    return yaml.safe_dump_all(documents, sort_keys=False, default_flow_style=False, width=100)
