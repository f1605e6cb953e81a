"""``ibdra webhook`` in a process of its own: from start to stop."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from contract.admission.conftest import Pair
from contract.admission.webhook_calls import JSON, Client, a_review_of, head, heard
from contract.metrics.metrics_seen import fetch
from ibdra_adapters.admission.certificates import CertificateFiles
from ibdra_app.webhook import WebhookSettings, run_webhook
from unit.cli.cli_runs import ROOT, run
from unit.domain.admission_facts import BAD, an_object, an_opaque

Pairs = tuple[Pair, Pair]
RUN_AND_TELL = """
import json, sys
from ibdra_app.cli import main
try:
    main()
finally:
    print(json.dumps(sorted(sys.modules)))
"""
# What it must not pay for: the node agent's, other commands' and tests' libraries.
NEVER = {
    "_cffi_backend",
    "cel_expr_python",
    "dependency_injector",
    "google.protobuf",
    "grpc",
    "ibdra_app.container",
    "kubernetes",
    "prometheus_client",
    "pyroute2",
    "rich",
    "yaml",
}
_READY = re.compile(r"ready: reviews at port (\d+)")


class Running:
    """A webhook in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log = ""

    async def until(self, pattern: re.Pattern[str]) -> re.Match[str]:
        """Read its log until it says something."""
        assert self.process.stderr is not None
        async with asyncio.timeout(30):
            while True:
                line = (await self.process.stderr.readline()).decode()
                assert line, f"it ended: {self.log}"
                self.log += line
                if found := pattern.search(line):
                    return found

    async def ended(self) -> tuple[int, str]:
        """Wait for its end; gives its exit code and what it printed."""
        async with asyncio.timeout(30):
            out, err = await self.process.communicate()
        self.log += err.decode()
        assert self.process.returncode is not None
        return self.process.returncode, out.decode()


@asynccontextmanager
async def running(pair: Pair, *options: str) -> AsyncIterator[Running]:
    """Start it at a free port."""
    certificate, key = pair
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RUN_AND_TELL, "webhook", "--bind", "127.0.0.1", "--port", "0"),
        *("--cert", str(certificate), "--key", str(key), *options),
        env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_it_serves_until_sigterm_and_imports_what_it_needs(pairs: Pairs) -> None:
    """No gRPC, no Kubernetes' client, no netlink: it runs beside the API server, in numbers."""
    async with running(pairs[0], "--linger", "0") as webhook:
        client = Client(int((await webhook.until(_READY))[1]), pairs[0][0])
        for config, allowed in (([an_opaque()], True), ([an_opaque(BAD)], False)):
            said = await client.review(a_review_of(an_object(config=config)))
            assert allowed == said.response["allowed"]
        webhook.process.terminate()
        code, out = await webhook.ended()
    assert 0 == code, webhook.log
    assert set() == NEVER & set(json.loads(out.splitlines()[-1]))
    assert "refused" in webhook.log
    assert "Traceback" not in webhook.log


async def test_it_serves_on_for_a_while_after_sigterm(pairs: Pairs) -> None:
    """Not ready, but answering; what is under way at the very end is answered as well."""
    body = json.dumps(a_review_of(an_object())).encode()
    async with running(pairs[0], "--linger", "60") as webhook:
        client = Client(int((await webhook.until(_READY))[1]), pairs[0][0])
        webhook.process.terminate()
        await webhook.until(re.compile("stopping"))
        assert 503 == (await client.call("GET", "/readyz")).status
        async with client.connected() as streams:
            streams[1].write(head("POST", "/validate", body, JSON) + body[:50])
            assert (await client.review(a_review_of(an_object()))).response["allowed"]
            webhook.process.send_signal(signal.SIGINT)  # a second signal ends the waiting
            await asyncio.sleep(0.3)
            streams[1].write(body[50:])
            assert (await heard(streams[0])).response["allowed"]
        assert 0 == (await webhook.ended())[0], webhook.log


async def test_it_serves_metrics_where_it_is_told_to(pairs: Pairs) -> None:
    """Each review is counted, by kind and verdict; until it ends."""
    async with running(
        pairs[0], "--linger", "0", "--metrics-port", "0", "--metrics-bind", "127.0.0.1"
    ) as webhook:
        metrics = int((await webhook.until(re.compile(r"metrics at port (\d+)")))[1])
        client = Client(int((await webhook.until(_READY))[1]), pairs[0][0])
        await client.review(a_review_of(an_object()))
        text = await asyncio.to_thread(fetch, metrics)
        series = 'review_duration_seconds_count{kind="ResourceClaim",verdict="allowed"} 1.0'
        assert f"ibdra_webhook_{series}\n" in text
        assert f'ibdra_build_info{{python="{platform.python_version()}",version="' in text
        webhook.process.terminate()
        code, out = await webhook.ended()
    assert 0 == code, webhook.log
    assert {"prometheus_client"} == NEVER & set(json.loads(out.splitlines()[-1]))


async def test_a_metrics_port_that_is_taken_is_told(pairs: Pairs) -> None:
    """It does not serve reviews that nobody could count."""
    async with running(pairs[0]) as first:
        port = (await first.until(_READY))[1]
        async with running(pairs[0], "--metrics-port", port) as second:
            code, _ = await second.ended()
    assert (2, 1) == (code, second.log.count(f"ibdra: metrics cannot be served at port {port}"))


async def test_two_cannot_serve_one_port(pairs: Pairs) -> None:
    """The second says so and ends with 2: it could not even try."""
    async with running(pairs[0]) as first:
        port = (await first.until(_READY))[1]
        async with running(pairs[0], "--port", port) as second:
            code, _ = await second.ended()
    assert (2, 1) == (code, second.log.count(f"ibdra: port {port} cannot be served"))


def test_without_a_certificate_it_does_not_start(tmp_path: Path) -> None:
    """The files are named."""
    ran = run("webhook", "--cert", tmp_path / "tls.crt", "--key", tmp_path / "tls.key")
    assert (2, "") == (ran.code, ran.out)
    assert f"ibdra: certificate {tmp_path / 'tls.crt'} with key" in ran.err


async def test_it_ends_if_nobody_looks_after_the_certificate(
    pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rather than serve until it has run out: who restarts it sees the error."""

    def broken(_self: CertificateFiles) -> bool:
        raise MemoryError

    monkeypatch.setattr(CertificateFiles, "refresh", broken)
    settings = WebhookSettings(
        certificate=pairs[0][0], key=pairs[0][1], port=0, bind="127.0.0.1", look_every=0.01
    )
    with pytest.raises(MemoryError):
        await run_webhook(settings, stop=asyncio.Event(), at_once=asyncio.Event())
