"""The kubelet's side of DRA: sockets, registration and the two protocol versions.

Why: a driver author brings a :class:`~ibdra_domain.ports.driver.DraDriver` and gets a
complete kubelet plugin; nothing in here knows InfiniBand.  ``FakeKubelet`` plays the other
end, for tests and the demo.

gRPC costs 50 ms and 20 MiB, so it is imported when one of these names is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ibdra_adapters.kubelet.client import FakeKubelet
    from ibdra_adapters.kubelet.plugin import KubeletPlugin
    from ibdra_adapters.kubelet.probes import HealthServer
    from ibdra_adapters.kubelet.sockets import SocketPaths

__all__ = ["FakeKubelet", "HealthServer", "KubeletPlugin", "SocketPaths"]

_HOMES = {
    "FakeKubelet": "client",
    "HealthServer": "probes",
    "KubeletPlugin": "plugin",
    "SocketPaths": "sockets",
}


def __getattr__(name: str) -> object:
    """Import a public name's module when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the names that are not imported yet, too."""
    return sorted({*globals(), *__all__})
