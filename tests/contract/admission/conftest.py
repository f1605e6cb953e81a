"""A webhook that runs, with a certificate made for the occasion."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contract.admission.webhook_calls import Client, make_pair
from ibdra_adapters.admission.certificates import CertificateFiles
from ibdra_adapters.admission.server import AdmissionServer

Pair = tuple[Path, Path]


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, Pair]:
    """Two certificates with their keys."""
    folder = tmp_path_factory.mktemp("certificates")
    return make_pair(folder, "first"), make_pair(folder, "second")


@pytest.fixture
def observed() -> list[tuple[str, str]]:
    """Give what the webhook told whoever counts: kinds and outcomes."""
    return []


@pytest.fixture
async def webhook(
    pairs: tuple[Pair, Pair], observed: list[tuple[str, str]]
) -> AsyncIterator[AdmissionServer]:
    """Run the webhook with the first certificate."""

    def observe(kind: str, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        observed.append((kind, outcome))

    async with AdmissionServer(
        certificates=CertificateFiles(*pairs[0]),
        port=0,
        bind="127.0.0.1",
        observe=observe,
        read_time=5,
    ) as server:
        yield server


@pytest.fixture
def client(webhook: AdmissionServer, pairs: tuple[Pair, Pair]) -> Client:
    """Give a client of it."""
    return Client(webhook.port, pairs[0][0])
