"""What importing the package costs, and under which conditions it can be imported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import ibdra_adapters.kubelet


def fresh_interpreter(code: str) -> str:
    """Run code in a new interpreter where any warning is an error; give its output."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_importing_the_package_imports_no_grpc() -> None:
    """A command that does not talk to the kubelet does not pay for gRPC or protobuf."""
    code = (
        "import ibdra_adapters.kubelet, sys;"
        "print({name.split('.')[0] for name in sys.modules} & {'grpc', 'google', 'asyncio'})"
    )
    assert "set()" == fresh_interpreter(code)


def test_paths_are_had_without_grpc() -> None:
    """Socket paths can be computed without importing gRPC."""
    code = (
        "from ibdra_adapters.kubelet import SocketPaths; import sys; print('grpc' in sys.modules)"
    )
    assert "False" == fresh_interpreter(code)


def test_everything_imports_without_a_warning() -> None:
    """The generated code and gRPC load while every warning is an error."""
    code = (
        "from ibdra_adapters.kubelet import *; print(KubeletPlugin.__name__, FakeKubelet.__name__)"
    )
    assert "KubeletPlugin FakeKubelet" == fresh_interpreter(code)


def test_public_names_are_listed() -> None:
    """The package lists its lazy names, and only those are public."""
    names = ["FakeKubelet", "HealthServer", "KubeletPlugin", "SocketPaths"]
    assert names == ibdra_adapters.kubelet.__all__
    assert set(names) <= set(dir(ibdra_adapters.kubelet))


def test_an_unknown_name_is_an_attribute_error() -> None:
    """A typo is reported as for any other module."""
    with pytest.raises(AttributeError, match="no attribute 'Kubelet'"):
        getattr(ibdra_adapters.kubelet, "Kubelet")  # noqa: B009 - mypy knows it is not there
