"""Fuzzes the webhook's answers with atheris, guided by the code that each body reaches.

Why: the property tests make bodies that look like reviews; a fuzzer finds those that nobody
thought of.  Not part of the tests, as it has no end: atheris is installed for it alone.

    pip install atheris
    python tools/fuzz_admission.py CORPUS -max_total_time=300

A crash is an exception here, and atheris writes the body that made it to ``crash-*``.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]


def one(raw: bytes) -> None:
    """Answer one body; raises AssertionError for an answer that no server could read."""
    from contract.admission.test_admission_answers import seen  # noqa: PLC0415 - instrumented first

    _, response = seen(raw)
    if response is None or not response["allowed"]:
        return
    request = json.loads(raw)["request"]
    if response["uid"] != request["uid"]:
        raise AssertionError(f"{request['uid']!r} was answered as {response['uid']!r}")


def main() -> None:
    """Fuzz until told to stop."""
    atheris: Any = importlib.import_module("atheris")
    logging.disable()
    with atheris.instrument_imports(include=["ibdra_domain", "ibdra_adapters"]):
        from contract.admission.test_admission_answers import BODY  # noqa: PLC0415 - as above
    corpus = [Path(each) for each in sys.argv[1:] if not each.startswith("-")]
    for folder in corpus:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "a-bad-claim").write_bytes(BODY)
        (folder / "a-good-claim").write_bytes(BODY.replace(b"9000", b"2048"))
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
