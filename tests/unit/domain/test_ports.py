"""The ports: small, documented, in the domain's words, and the few values they carry."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import FunctionType, ModuleType

import pytest

from ibdra_domain import ports
from ibdra_domain.kube_objects import Device
from ibdra_domain.ports.kube import SliceChange, SliceEvent
from ibdra_domain.ports.selectors import Verdict
from ibdra_domain.ports.state import Loaded
from ibdra_domain.publication import DRIVER_NAME
from ibdra_domain.slices import to_slices
from unit.domain.domain_facts import NODE, a_claim_ref

MODULES = [
    importlib.import_module(f"{ports.__name__}.{m.name}")
    for m in pkgutil.iter_modules(ports.__path__)
]


def protocols(module: ModuleType) -> list[type]:
    """Give the Protocols a module defines."""
    found = [c for _, c in inspect.getmembers(module, inspect.isclass)]
    return [
        c for c in found if c.__module__ == module.__name__ and getattr(c, "_is_protocol", False)
    ]


def operations(protocol: type) -> dict[str, FunctionType | property]:
    """Give a Protocol's public methods and properties."""
    return {
        name: member
        for name, member in vars(protocol).items()
        if isinstance(member, FunctionType | property) and not name.startswith("_")
    }


@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__.rpartition(".")[2])
def test_a_ports_module_says_why_it_is_there(module: ModuleType) -> None:
    """And has at least one Protocol."""
    assert "Why:" in (module.__doc__ or "")
    assert protocols(module)


@pytest.mark.parametrize(
    "protocol", [p for m in MODULES for p in protocols(m)], ids=lambda p: p.__name__
)
def test_a_port_is_small_and_documented(protocol: type) -> None:
    """At most six operations, so that anybody can fulfil it; each says what it does."""
    found = operations(protocol)
    assert 1 <= len(found) <= 6
    assert [] == [name for name, member in found.items() if not member.__doc__]


def test_a_claim_is_shown_with_its_uid() -> None:
    """Claims of one name come and go."""
    assert "team/fabric (uid-1)" == str(a_claim_ref())


def test_an_empty_store_has_nothing_to_warn_of() -> None:
    """Warnings are about files that were set aside."""
    assert () == Loaded(records={}).warnings


def test_slice_changes_are_the_api_servers_words() -> None:
    """As a watch's ``type`` reads."""
    assert ["ADDED", "MODIFIED", "DELETED"] == list(SliceChange)
    (only,) = to_slices([Device(name="x")], node=NODE, driver=DRIVER_NAME)
    assert only == SliceEvent(SliceChange("ADDED"), only).slice


def test_a_verdict_without_error_is_just_yes_or_no() -> None:
    """An expression that fails is another thing than one that does not match."""
    assert Verdict(matched=False).error is None
    assert Verdict(matched=False) != Verdict(matched=False, error="no such key")
