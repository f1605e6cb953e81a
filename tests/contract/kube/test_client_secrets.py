"""Tokens stand in no message, no traceback and no log, whoever quotes them."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from contract.kube.conftest import MakeClient
from contract.kube.hostile_server import (
    Act,
    HostileServer,
    Json,
    hangs,
    kubeconfig,
    refuses,
    says,
)
from contract.kube.identities import PATH, SECRET, with_file, with_text
from ibdra_adapters.kube import client
from ibdra_domain.errors import KubeFailed


def all_that_is_said(error: BaseException, caplog: pytest.LogCaptureFixture) -> str:
    return "".join(traceback.format_exception(error)) + caplog.text


@pytest.mark.parametrize(
    "text",
    [f"{SECRET}\nX: y", f"{SECRET} {SECRET}", f"{SECRET}\x00", f"{SECRET}ü", f"{SECRET}\r"],
    ids=["two lines", "two words", "a zero", "no ASCII", "a return within"],
)
@pytest.mark.parametrize("write", [with_file, with_text])
def test_a_token_that_no_header_may_carry_is_refused_and_not_told(
    server: HostileServer,
    make_client: MakeClient,
    token: Path,
    caplog: pytest.LogCaptureFixture,
    *,
    text: str,
    write: Callable[[Path, HostileServer], Path],
) -> None:
    """Nothing is sent; neither message, traceback nor log holds it."""
    caplog.set_level(logging.DEBUG)
    token.write_bytes(text.encode() + b"x")
    with pytest.raises(KubeFailed, match="holds characters that no token has") as caught:
        make_client(write(token, server))
    assert SECRET not in all_that_is_said(caught.value, caplog)
    assert [] == server.requests


SPOILT: dict[str, Callable[[Json], None]] = {
    "user misspelt": lambda user: user.update(usr=user.pop("user")),
    "name misspelt": lambda user: user.update(nme=user.pop("name")),
    "plugin without a command": lambda user: user["user"].update(exec={"args": [SECRET]}),
    "provider without a token": lambda user: user["user"].update(
        {"auth-provider": {"name": "oidc", "config": {"client-secret": SECRET}}}
    ),
    "certificate": lambda user: user["user"].update({"client-key-data": [SECRET]}),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
@pytest.mark.parametrize("dump", [json.dumps, yaml.safe_dump], ids=["json", "yaml"])
def test_what_a_kubeconfig_holds_is_not_told(
    make_client: MakeClient,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Json], None],
    dump: Callable[[Any], str],
) -> None:
    """The official client's errors quote whole entries; ours do not."""
    caplog.set_level(logging.DEBUG)
    path = kubeconfig(tmp_path / "config", "https://127.0.0.1:1", user={"token": SECRET})
    content = json.loads(path.read_bytes())
    spoil(content["users"][0])
    path.write_text(dump(content), encoding="utf-8")
    with pytest.raises(KubeFailed) as caught:
        make_client(path).kube.call("GET", PATH)
    assert SECRET not in all_that_is_said(caught.value, caplog)


@pytest.mark.parametrize(
    "act",
    [
        refuses(400, f"bad header: Bearer {SECRET}"),
        says(500, f"Authorization: Bearer {SECRET}".encode()),
        hangs(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + SECRET.encode()[:5]),
    ],
    ids=["refusal", "trouble", "half"],
)
def test_a_server_that_tells_our_token_is_not_quoted(
    server: HostileServer,
    make_client: MakeClient,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    *,
    act: Act,
) -> None:
    """Proxies that explain a bad request do so."""
    monkeypatch.setattr(client, "READ_TIMEOUT", 0.1)
    caplog.set_level(logging.DEBUG)
    there = make_client(kubeconfig(tmp_path / "config", server.url, user={"token": SECRET}))
    server.does(act)
    with pytest.raises(KubeFailed) as caught:
        there.kube.call("GET", PATH)
    assert SECRET not in all_that_is_said(caught.value, caplog)
