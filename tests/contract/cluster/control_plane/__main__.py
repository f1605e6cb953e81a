"""One control plane to look at by hand: ``python tests/contract/cluster/control_plane``."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[3])
    from contract.cluster.control_plane import building
    from contract.cluster.control_plane.kubelet import RealKubelet
    from contract.cluster.control_plane.running import ControlPlane

    minors = building.kubernetes_minors()
    parser = argparse.ArgumentParser(prog="control_plane", description=__doc__)
    parser.add_argument("--version", choices=minors, default=minors[0])
    parser.add_argument("--node", metavar="NAME", help="with a kubelet of this name (as root)")
    parser.add_argument("--build", action="store_true", help="only build what tests need")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if options.build:
            for build in building.all_builds():
                print(f"{build.name}: {building.commands(build)}")  # noqa: T201
            sys.exit(0)
        with contextlib.ExitStack() as stack:
            running = stack.enter_context(ControlPlane(options.version))
            if options.node:
                stack.enter_context(RealKubelet(running, options.node))
            print(f"Kubernetes {running.version} at {running.url}; logs: {running.logs}")  # noqa: T201
            print(f"export KUBECONFIG={running.kubeconfig}", flush=True)  # noqa: T201
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave a part
    except building.Lacking as reason:
        sys.exit(str(reason))
