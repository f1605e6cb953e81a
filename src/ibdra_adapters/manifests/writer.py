"""Objects written as YAML that ``kubectl apply`` accepts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import yaml


def to_yaml(bodies: Iterable[Mapping[str, Any]]) -> str:
    """Write objects as YAML documents, fields in the order given."""
    return yaml.safe_dump_all(bodies, sort_keys=False, default_flow_style=False, width=100)
