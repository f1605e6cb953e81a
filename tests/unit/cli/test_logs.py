"""Log lines say whom they are about, for people and for machines."""

from __future__ import annotations

import json
import logging
import subprocess
import sys

from ibdra_app.speaking import AboutFilter, speaking_of

CODE = """
import logging
from ibdra_app.cli.logs import LogFormat, set_up_logs
from ibdra_app.speaking import speaking_of
set_up_logs(LogFormat({form!r}), verbose={verbose})
log = logging.getLogger("test")
log.info("before")
log.debug("not told")
with speaking_of(claim="uid-1", pod="jobs/train-0"):
    with speaking_of(devices=["pci-a", "pci-b"]):
        log.warning("moved")
log.info("after")
logging.getLogger("ibdra_app.preparing").debug("a step")
logging.getLogger("urllib3.connectionpool").debug("a request")
"""


def lines(form: str, *, verbose: bool = False) -> list[str]:
    code = CODE.format(form=form, verbose=verbose)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stderr.splitlines()


def test_text_names_claim_pod_and_devices() -> None:
    """Within a claim's way, and only there."""
    before, moved, after = lines("text")
    assert before.endswith("INFO test: before")
    assert moved.endswith("test: moved [claim=uid-1 pod=jobs/train-0 devices=pci-a,pci-b]")
    assert after.endswith("INFO test: after")


def test_json_has_a_field_each() -> None:
    """Every line is one object, with the same fields."""
    before, moved, _ = (json.loads(line) for line in lines("json"))
    assert {"level": "WARNING", "logger": "test", "message": "moved"}.items() <= moved.items()
    assert ("uid-1", "jobs/train-0", ["pci-a", "pci-b"]) == (
        *(moved["claim"], moved["pod"]),
        moved["devices"],
    )
    assert before.keys() == moved.keys()
    assert ("", "", []) == (before["claim"], before["pod"], before["devices"])


def test_verbose_tells_our_steps_and_no_librarys() -> None:
    """Libraries log each request; nobody who looks for a claim wants these."""
    assert lines("text", verbose=True)[-1].endswith("DEBUG ibdra_app.preparing: a step")


def test_what_is_about_nothing_stays_so() -> None:
    """The inner says more; at the end the outer holds again."""
    record = logging.LogRecord("n", logging.INFO, "f", 1, "m", None, None)
    with speaking_of(claim="a"), speaking_of(pod="p/q", devices=["d"]):
        pass
    assert AboutFilter().filter(record)
    assert "" == vars(record)["about"]
