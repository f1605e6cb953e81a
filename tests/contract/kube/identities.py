"""Tokens in files and kubeconfigs, and servers that know them."""

from __future__ import annotations

from pathlib import Path

from contract.kube.hostile_server import (
    Act,
    HostileServer,
    Talk,
    kubeconfig,
    refuses,
    says,
)

SECRET = "s3cr3t-t0k3n-of-ours"
PATH = "/apis/x"


def knowing(*tokens: str) -> Act:
    """Answer well to who shows one of these, in any case of its scheme."""

    def act(talk: Talk) -> None:
        scheme, _, token = talk.request.token.partition(" ")
        known = scheme.lower() == "bearer" and token in tokens
        (says(200) if known else refuses(401, "Unauthorized"))(talk)

    return act


def with_file(token: Path, server: HostileServer) -> Path:
    user = {"tokenFile": str(token)}
    return kubeconfig(token.with_name("config"), server.url, user=user)


def with_text(token: Path, server: HostileServer) -> Path:
    user = {"token": token.read_text(encoding="utf-8")}
    return kubeconfig(token.with_name("config"), server.url, user=user)


def nowhere() -> str:
    raise FileNotFoundError("No usable temporary directory found")
