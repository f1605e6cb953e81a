"""The examples, unchanged, on real API servers."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from contract.cluster.control_plane.admin import Admin

_EXAMPLES = Path(__file__).parents[3] / "examples"


_FILES = sorted([*_EXAMPLES.glob("*.yaml"), *_EXAMPLES.glob("custom_driver/*.yaml")])


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_example_is_accepted(admin: Admin, path: Path) -> None:
    """Each document of an example is created whole: the server knows every field.

    Only the namespace has another name: ends of namespaces take long, and other tests want
    these ones too.
    """
    documents = list(yaml.safe_load_all(path.read_text()))
    space = f"accepted-{uuid4().hex[:8]}"
    for each in documents:
        metadata = each["metadata"]
        if each["kind"] == "Namespace":
            metadata["name"] = space
        elif "namespace" in metadata:
            metadata["namespace"] = space
    made = []
    try:
        made += [admin.apply(each) for each in documents]
        wanted = [(each["kind"], each["metadata"]["name"]) for each in documents]
        assert wanted == [(each["kind"], each["metadata"]["name"]) for each in made]
    finally:
        for each in made:
            name = each["metadata"]["name"]
            if each["kind"] == "Namespace":
                admin.delete_namespace(name)
            elif "namespace" not in each["metadata"]:
                admin.delete(each["kind"], name)
