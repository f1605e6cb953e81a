"""What all tests share.

A test skips only for something this machine lacks, with a reason that begins "needs ".
In CI (IBDRA_NO_SKIPS=1) such a skip is a failure: a lane that silently did not run proves
nothing.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

# Examples are many and small; a slow machine is no reason to fail one (no timed tests).
settings.register_profile(
    "ibdra", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("ibdra")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn skips into failures where none is allowed."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("IBDRA_NO_SKIPS"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and IBDRA_NO_SKIPS is set: {report.longrepr}"
    return report
