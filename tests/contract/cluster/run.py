"""Run the tests that need a real control plane: one command from nothing to a result.

``python tests/contract/cluster [pytest arguments]``.  What is to be built is built first, where
somebody who waits can see it.  The exit code is pytest's; 77 means that this machine lacks
something, with a reason that begins "needs ".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from contract.cluster.control_plane import building

_FOLDER = Path(__file__).parent
_LACKING = 77


def main(arguments: Sequence[str]) -> int:
    """Build, then run pytest with these arguments."""
    try:
        building.check_machine()
        for build in building.all_builds():
            building.commands(build)
    except building.Lacking as reason:
        print(f"SKIPPED cluster: {reason}")  # noqa: T201
        return _LACKING
    named = any(Path(each.partition("::")[0]).exists() for each in arguments)
    return int(pytest.main(["-q", *arguments, *([] if named else [str(_FOLDER)])]))
