"""The API server, as far as this node's agent depends on it.

Why: a missing right shows as a driver that works until the day it has to say something.
The rights are the ones on the page about running it; a test holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ibdra_domain.fitness import Finding, error, good, warning
from ibdra_domain.kube_objects import RESOURCE_API_VERSION
from ibdra_domain.ports.access import Right
from ibdra_domain.publication import DRIVER_NAME

OLDEST = (1, 34)
_GROUP = RESOURCE_API_VERSION.partition("/")[0]
_DRIVER_STATUS_SINCE = (1, 36)
_VERSION = re.compile(r"v?(\d{1,4})\.(\d{1,4})")


def rights(version: tuple[int, int] = OLDEST) -> tuple[tuple[Right, bool], ...]:
    """List the rights of the agent, and whether it is no use without."""
    needed = [Right(verb="get", resource="nodes")]
    needed += [
        Right(verb=verb, group=_GROUP, resource="resourceslices")
        for verb in ("get", "list", "watch", "create", "update", "delete")
    ]
    needed.append(Right(verb="get", group=_GROUP, resource="resourceclaims"))
    telling = [
        Right(verb=verb, group=_GROUP, resource="resourceclaims", subresource="status")
        for verb in ("patch", "update")
    ]
    if version >= _DRIVER_STATUS_SINCE:
        telling += [
            Right(
                verb=f"associated-node:{verb}",
                group=_GROUP,
                resource="resourceclaims",
                subresource="driver",
                name=DRIVER_NAME,
            )
            for verb in ("patch", "update")
        ]
    telling += [Right(verb=verb, resource="events") for verb in ("create", "get", "patch")]
    return (*((right, True) for right in needed), *((right, False) for right in telling))


def parsed(version: str) -> tuple[int, int] | None:
    """Read ``v1.34.2+vendor``; None if it is no version."""
    match = _VERSION.match(version)
    return (int(match[1]), int(match[2])) if match else None


def not_asked() -> Finding:
    """Say that no API server was asked."""
    return warning(
        "api",
        "the API server",
        "no API server was asked: there is neither a kubeconfig nor a pod's service account",
        remedy="give --kubeconfig FILE, of the agent's own identity",
    )


def check_version(version: str) -> Finding:
    """Judge the server's version."""
    found = parsed(version)
    if found is None or found < OLDEST:
        return error(
            "api",
            f"API server {version}",
            f"the API server is {version}, older than {OLDEST[0]}.{OLDEST[1]}",
            remedy=f"upgrade the cluster: {RESOURCE_API_VERSION} is served from "
            f"{OLDEST[0]}.{OLDEST[1]} on",
        )
    return good("api", f"API server {version}")


def check_served(*, served: bool) -> Finding:
    """Judge whether the server has DRA."""
    if served:
        return good("api", f"{RESOURCE_API_VERSION} is served")
    return error(
        "api",
        RESOURCE_API_VERSION,
        f"the API server does not serve {RESOURCE_API_VERSION}",
        remedy="turn the feature gate DynamicResourceAllocation and this API version on "
        "(--runtime-config)",
    )


def check_rights_of(answers: Iterable[tuple[Right, bool, bool]]) -> tuple[Finding, ...]:
    """Judge what the identity may do: each right, whether it is needed, whether it is there."""
    found = []
    for right, needed, allowed in answers:
        if allowed:
            found.append(good("api", str(right)))
            continue
        grade = error if needed else warning
        loss = "the driver cannot work" if needed else "nobody is told of claims' states"
        found.append(
            grade(
                "api",
                str(right),
                f"this identity may not {right}: {loss}",
                remedy="add it to the agent's ClusterRole, or ask with the agent's own kubeconfig",
            )
        )
    return tuple(found)


def check_node(name: str, *, registered: bool) -> Finding:
    """Judge whether there is a node by this name."""
    if registered:
        return good("api", f"node {name}")
    return error(
        "api",
        f"node {name}",
        f"the cluster has no node {name}: nothing can be published for it",
        remedy="give --node with the name that `kubectl get nodes` shows",
    )


def check_slices(
    published: Iterable[str], known: Iterable[str], *, daemon_runs: bool
) -> tuple[Finding, ...]:
    """Judge the pool on the server against the devices there are, by their names."""
    on_server, here = set(published), set(known)
    subject = f"{len(on_server)} devices published, {len(here)} here"
    found = []
    if gone := sorted(on_server - here):
        found.append(
            warning(
                "slices",
                subject,
                f"devices are published that are not here: {', '.join(gone)}",
                remedy="nothing if they come back; else start the daemon, which corrects its "
                "slices, or remove them with `ibdra cleanup`",
            )
        )
    if daemon_runs and (hidden := sorted(here - on_server)):
        found.append(
            warning(
                "slices",
                subject,
                f"devices are here that are not published: {', '.join(hidden)}",
                remedy="look in the daemon's log for `not published`",
            )
        )
    return tuple(found) or (good("slices", subject),)
