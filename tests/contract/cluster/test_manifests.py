"""The examples, unchanged, on real API servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from contract.cluster.control_plane.admin import Admin

_EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture
def classes(admin: Admin) -> Iterator[None]:
    """Have the classes that the examples ask for."""
    made = admin.apply_manifests(_EXAMPLES / "device-classes.yaml")
    yield
    for each in made:
        admin.delete("DeviceClass", each["metadata"]["name"])


@pytest.mark.parametrize("name", sorted(path.name for path in _EXAMPLES.glob("*.yaml")))
@pytest.mark.usefixtures("classes")
def test_example_is_accepted(admin: Admin, name: str) -> None:
    """Each document of an example is created whole: the server knows every field."""
    path = _EXAMPLES / name
    documents = list(yaml.safe_load_all(path.read_text()))
    made = admin.apply_manifests(path)
    wanted = [(each["kind"], each["metadata"]["name"]) for each in documents]
    try:
        assert wanted == [(each["kind"], each["metadata"]["name"]) for each in made]
    finally:
        namespace = next(each for each in made if each["kind"] == "Namespace")
        admin.delete_namespace(namespace["metadata"]["name"])
