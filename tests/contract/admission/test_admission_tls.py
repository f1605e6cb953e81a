"""TLS: what is spoken, what is shown, and what a bad certificate or client does: nothing."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contract.admission.conftest import Pair
from contract.admission.webhook_calls import JSON, Client, a_review_of, ask, head, heard, trusting
from ibdra_adapters.admission.certificates import CertificateFiles
from ibdra_adapters.admission.server import AdmissionServer
from ibdra_domain.errors import WebhookFailed
from unit.domain.admission_facts import an_object

Pairs = tuple[Pair, Pair]
VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)


class Volume:
    """A Secret as the kubelet mounts it: links to a folder that is swapped by one rename."""

    def __init__(self, folder: Path, pairs: Pairs) -> None:
        self._folder = folder
        self._number = 0
        self.pairs = pairs
        self.certificate, self.key = folder / "tls.crt", folder / "tls.key"
        for path in (self.certificate, self.key):
            path.symlink_to(Path("..data") / path.name)
        self.swap(*pairs[0])

    def swap(self, certificate: bytes | Path, key: bytes | Path) -> None:
        """Put other contents in place, all at once."""
        self._number += 1
        data = self._folder / f"..{self._number}"
        data.mkdir()
        for name, content in (("tls.crt", certificate), ("tls.key", key)):
            raw = content if isinstance(content, bytes) else content.read_bytes()
            (data / name).write_bytes(raw)
        link = self._folder / "..new"
        link.symlink_to(data.name)
        link.rename(self._folder / "..data")

    def swap_bad(self, kind: str) -> None:
        """Put a pair in place that cannot be used."""
        certificate, key = (path.read_bytes() for path in self.pairs[1])
        bad: dict[str, tuple[bytes, bytes]] = {
            "half written": (certificate[: len(certificate) // 2], key),
            "half a key": (certificate, key[: len(key) // 2]),
            "mismatched": (certificate, self.pairs[0][1].read_bytes()),
            "empty": (b"", b""),
            "swapped": (key, certificate),
            "no PEM": (b"\x00\x01", b"\xff\xfe"),
        }
        self.swap(*bad[kind] if kind in bad else (certificate, _locked(self.pairs[1][1])))


BAD_PAIRS = ("half written", "half a key", "mismatched", "empty", "swapped", "no PEM", "password")


def _locked(key: Path) -> bytes:
    """Give a key a password."""
    command = ["openssl", "ec", "-aes256", "-passout", "pass:x", "-in", str(key)]
    return subprocess.run(command, check=True, capture_output=True).stdout


@pytest.fixture
def volume(tmp_path: Path, pairs: Pairs) -> Volume:
    """Give a volume with the first pair."""
    return Volume(tmp_path, pairs)


@pytest.fixture
def files(volume: Volume) -> CertificateFiles:
    """Read it."""
    return CertificateFiles(volume.certificate, volume.key)


@pytest.fixture
async def client(files: CertificateFiles, pairs: Pairs) -> AsyncIterator[Client]:
    """Serve it, and have a client that trusts both pairs."""
    async with AdmissionServer(certificates=files, port=0, bind="127.0.0.1") as server:
        yield Client(server.port, *(certificate for certificate, _ in pairs))


async def shown(client: Client, context: ssl.SSLContext | None = None, name: str = "") -> str:
    """Tell whose certificate a client is shown."""
    async with client.connected(context, name=name or "localhost") as (_, writer):
        found = writer.get_extra_info("ssl_object").getpeercert()
        return str(dict(pair for part in found["subject"] for pair in part)["commonName"])


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_new_certificate_is_shown_to_the_next_client(
    client: Client, files: CertificateFiles, volume: Volume, version: ssl.TLSVersion
) -> None:
    """Also to one that asks by address, which names no server in its first message."""
    context = trusting(*(certificate for certificate, _ in volume.pairs), version=version)
    names = ("localhost", "127.0.0.1")
    assert {"first"} == {await shown(client, context, name) for name in names}
    assert not files.refresh()
    volume.swap(*volume.pairs[1])
    assert files.refresh()
    assert {"second"} == {await shown(client, context, name) for name in names}
    assert not files.refresh()


async def test_a_connection_outlives_its_certificate(
    client: Client, files: CertificateFiles, volume: Volume
) -> None:
    """Reviews under way are answered, and API servers keep their connections."""
    body = json.dumps(a_review_of(an_object())).encode()
    async with client.connected() as streams:
        streams[1].write(head("POST", "/validate", body, JSON) + body[:10])
        volume.swap(*volume.pairs[1])
        assert files.refresh()
        streams[1].write(body[10:])
        assert (await heard(streams[0])).response["allowed"]
        assert 200 == (await ask(streams)).status


@pytest.mark.parametrize("kind", BAD_PAIRS)
async def test_a_pair_that_does_not_fit_changes_nothing(
    client: Client,
    files: CertificateFiles,
    volume: Volume,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    """The one before stays, the log says so once, and a good one later is taken."""
    volume.swap_bad(kind)
    assert [False] * 3 == [files.refresh() for _ in range(3)]
    (record,) = caplog.records
    assert "the certificate in use stays: " in record.getMessage()
    assert "cannot be used (" in record.getMessage()
    assert "first" == await shown(client)
    volume.swap(*volume.pairs[1])
    assert files.refresh()
    assert "second" == await shown(client)


async def test_files_that_are_gone_change_nothing(
    client: Client, files: CertificateFiles, volume: Volume
) -> None:
    """Whatever is missing, and for however long."""
    for path in (volume.key, volume.certificate):
        path.unlink()
        assert not files.refresh()
        assert "first" == await shown(client)
    for path, new in zip((volume.certificate, volume.key), volume.pairs[1], strict=True):
        shutil.copy(new, path)
    assert files.refresh()
    assert "second" == await shown(client)


async def test_files_that_are_written_in_place_are_noticed(
    client: Client, files: CertificateFiles, volume: Volume
) -> None:
    """One after the other, as `cp` does: between the two they do not fit."""
    for path, new, fits in (
        (volume.certificate, volume.pairs[1][0], False),
        (volume.key, volume.pairs[1][1], True),
    ):
        path.write_bytes(new.read_bytes())
        assert fits == files.refresh()
    assert "second" == await shown(client)


async def test_the_files_are_looked_at_again_and_again(
    client: Client, files: CertificateFiles, volume: Volume
) -> None:
    """As long as the webhook runs."""
    watching = asyncio.create_task(files.watch(0.01))
    try:
        for pair, name in zip(volume.pairs[::-1], ("second", "first"), strict=True):
            volume.swap(*pair)
            async with asyncio.timeout(10):
                while name != await shown(client):
                    continue
    finally:
        watching.cancel()


async def test_reviews_go_on_while_certificates_change(
    client: Client, files: CertificateFiles, volume: Volume
) -> None:
    """Good ones and bad ones in between: no client is turned away."""
    for turn in range(10):
        reviews = [client.review(a_review_of(an_object(), uid=f"{turn}-{n}")) for n in range(5)]
        asking = asyncio.gather(*reviews)
        await asyncio.sleep(0)
        if turn % 3 == 1:
            volume.swap_bad("mismatched")
        else:
            volume.swap(*volume.pairs[turn % 2])
        await asyncio.to_thread(files.refresh)
        assert all(said.response["allowed"] for said in await asking)


@pytest.mark.parametrize("kind", BAD_PAIRS)
def test_a_webhook_with_nothing_to_show_does_not_start(volume: Volume, kind: str) -> None:
    """There is no certificate before the first, and the message names the files."""
    volume.swap_bad(kind)
    with pytest.raises(WebhookFailed, match="cannot be used") as caught:
        CertificateFiles(volume.certificate, volume.key)
    assert str(volume.certificate) in caught.value.problem
    assert str(volume.key) in caught.value.problem


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With the system's reason."""
    with pytest.raises(WebhookFailed, match=r"a\.crt .* \(no such file or directory\)"):
        CertificateFiles(tmp_path / "a.crt", tmp_path / "a.key")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")  # that it is old is the point
async def test_old_versions_of_tls_are_refused(
    client: Client, pairs: Pairs, version: ssl.TLSVersion
) -> None:
    """1.2 is the oldest that is spoken."""
    context = trusting(pairs[0][0], version=version)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await shown(client, context)
    assert "first" == await shown(client)


CLIENT_HELLO = bytes.fromhex("1603010200010001fc0303") + os.urandom(32)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        CLIENT_HELLO,
        CLIENT_HELLO[:3],
        b"\x16\x03\x01\xff\xff" + b"\x00" * 1000,
        b"\x15\x03\x03\x00\x02\x02\x28",
        os.urandom(512),
    ],
    ids=["nothing", "no TLS", "half a hello", "3 bytes", "too long", "alert", "random"],
)
async def test_what_is_no_tls_hurts_nobody(client: Client, raw: bytes) -> None:
    """Cut short, plain or nonsense, hung up on or left open: the others are served."""
    _, hung_up = await asyncio.open_connection("127.0.0.1", client.port)
    _, left_open = await asyncio.open_connection("127.0.0.1", client.port)
    for writer in (hung_up, left_open):
        writer.write(raw)
    hung_up.transport.abort()
    assert 200 == (await client.call()).status
    left_open.transport.abort()


async def test_a_session_cut_short_hurts_nobody(client: Client) -> None:
    """The connection dies in the middle of a review, without TLS' goodbye."""
    body = json.dumps(a_review_of(an_object())).encode()
    async with client.connected() as streams:
        streams[1].write(head("POST", "/validate", body, JSON) + body[:50])
        await streams[1].drain()
        streams[1].get_extra_info("socket").shutdown(2)
    assert (await client.review(a_review_of(an_object()))).response["allowed"]
