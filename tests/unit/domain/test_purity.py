"""What the domain needs: the standard library and msgspec."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys

import ibdra_domain

# What the other rings of the house bring, by import name.
OUTSIDE = {
    "aiohttp",
    "cel_expr_python",
    "cffi",
    "click",
    "dependency_injector",
    "google",
    "grpc",
    "ibdra_adapters",
    "ibdra_app",
    "kubernetes",
    "prometheus_client",
    "pyroute2",
    "rich",
    "yaml",
}


def test_the_domain_loads_nothing_from_outside() -> None:
    """All its modules in a fresh interpreter bring no client library and no outer ring."""
    modules = [m.name for m in pkgutil.walk_packages(ibdra_domain.__path__, "ibdra_domain.")]
    assert "ibdra_domain.ports.netlink" in modules
    code = (
        f"import sys, {', '.join(modules)};"
        f"print(sorted({{name.split('.')[0] for name in sys.modules}} & {OUTSIDE!r}))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "[]" == done.stdout.strip()
