"""A container runtime as far as CDI goes: specs read from the folder, edits applied, hooks run.

Why: the demo and tests must see what a container really gets from the files on disk, read
as a runtime reads them, not what the driver meant to write.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from ibdra_domain.errors import CdiFailed


class StartedContainer(msgspec.Struct, frozen=True, kw_only=True):
    """A container as the runtime created it."""

    name: str
    pid: int
    env: dict[str, str]
    device_nodes: tuple[str, ...]
    cdi_ids: tuple[str, ...]


HookRunner = Callable[[str, tuple[str, ...], bytes], None]
"""Runs a hook: its path, its arguments, the OCI state for its standard input.

Raises whatever makes the container's start fail.
"""


class SimulatedRuntime:
    """Creates containers from CDI ids; ``run_hook`` stands for the hook's process."""

    def __init__(self, cdi_folder: Path, *, run_hook: HookRunner) -> None:
        self._folder = cdi_folder
        self._run_hook = run_hook

    def start(self, name: str, *, pid: int, cdi_ids: Iterable[str]) -> StartedContainer:
        """Apply the edits of each id (spec-wide ones once) and run createRuntime hooks.

        Raises CdiFailed for an id no file knows, and what a failing hook raises.
        """
        wanted = tuple(dict.fromkeys(cdi_ids))
        edits = self._edits(wanted)
        env: dict[str, str] = {}
        nodes: dict[str, None] = {}
        hooks = []
        for edit in edits:
            env |= dict(pair.split("=", 1) for pair in edit.get("env", ()))
            nodes |= {_describe(node): None for node in edit.get("deviceNodes", ())}
            hooks += [h for h in edit.get("hooks", ()) if h["hookName"] == "createRuntime"]
        state = {"ociVersion": "1.2.0", "id": name, "status": "creating", "pid": pid, "bundle": "/"}
        for hook in hooks:
            self._run_hook(hook["path"], tuple(hook.get("args", ())), json.dumps(state).encode())
        return StartedContainer(
            name=name, pid=pid, env=env, device_nodes=tuple(nodes), cdi_ids=wanted
        )

    def _edits(self, wanted: tuple[str, ...]) -> list[dict[str, Any]]:
        specs = [json.loads(path.read_bytes()) for path in sorted(self._folder.glob("*.json"))]
        edits: list[dict[str, Any]] = []
        for qualified in wanted:
            kind, _, device_name = qualified.partition("=")
            for spec in specs:
                device = next((d for d in spec["devices"] if d["name"] == device_name), None)
                if spec["kind"] == kind and device is not None:
                    edits.append(device["containerEdits"])
                    shared = spec.get("containerEdits", {})
                    if shared not in edits:
                        edits.append(shared)
                    break
            else:
                raise CdiFailed(
                    f"unresolvable CDI device {qualified}",
                    remedy="look for its spec file in the CDI folder",
                )
        return edits


def _describe(node: dict[str, Any]) -> str:
    return f"{node['path']} ({node['type']} {node['major']}:{node['minor']})"
