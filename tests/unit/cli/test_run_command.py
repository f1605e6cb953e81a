"""`ibdra run` with what it cannot work with: told at once, and nothing is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from unit.cli.cli_runs import run


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "there is no way to the API server"),
        (["--kubeconfig", "{folder}/none"], "none"),
        (["--kube=memory", "--guids", "{folder}/none.toml"], "none.toml"),
        (["--num-vfs=-1"], "-1"),
        (["--claims", "{folder}"], "--kube=memory"),
    ],
    ids=["no cluster", "no kubeconfig", "no GUID file", "a wrong number", "claims for no cluster"],
)
def test_what_cannot_be_is_told_before_anything_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], said: str
) -> None:
    """No folder, no lock, no socket."""
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    given = [each.format(folder=tmp_path) for each in options]
    places = [f"--{name}-dir={tmp_path / name}" for name in ("kubelet", "cdi", "state", "run")]
    ran = run("run", "--node=node-a", *places, *given)
    assert 2 == ran.code
    assert said in ran.err
    assert [] == list(tmp_path.iterdir())
