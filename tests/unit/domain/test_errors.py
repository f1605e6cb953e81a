"""The exception tree: as it is drawn, and what each error says."""

from __future__ import annotations

import errno
import inspect
import re

import pytest

from ibdra_domain import errors
from ibdra_domain.errors import IbdraError, InvalidConfig, KernelRefused

_DRAWN = re.compile(r"^ {4}(?P<stem>[│ ├└─]*)(?P<name>[A-Z]\w+)", re.MULTILINE)


def drawn_tree() -> dict[str, str | None]:
    """Read the docstring's drawing: each class and its base; four columns are one level."""
    above: list[str] = []
    tree: dict[str, str | None] = {}
    drawing = (errors.__doc__ or "").partition("::\n")[2]
    for match in _DRAWN.finditer(drawing):
        depth = len(match["stem"]) // 4
        assert 0 == len(match["stem"]) % 4, f"{match['name']} is drawn askew"
        above[depth:] = [match["name"]]
        tree[match["name"]] = above[depth - 1] if depth else None
    return tree


def real_tree() -> dict[str, str | None]:
    """Give the module's classes and the base of each."""
    found = inspect.getmembers(errors, inspect.isclass)
    bases = {name: cls.__mro__[1].__name__ for name, cls in found}
    return {name: None if base == "Exception" else base for name, base in bases.items()}


def test_the_tree_is_as_drawn() -> None:
    """The module's drawing names every class of it, below its base."""
    assert real_tree() == drawn_tree()


def test_every_error_is_ours_and_only_ours() -> None:
    """One root, below Exception, and no second base anywhere."""
    for _, cls in inspect.getmembers(errors, inspect.isclass):
        assert issubclass(cls, IbdraError)
        assert 1 == len(cls.__bases__)


def test_every_error_has_a_docstring() -> None:
    """What a class means is said where it stands."""
    assert [] == [n for n, c in inspect.getmembers(errors, inspect.isclass) if not c.__doc__]


def test_a_message_is_problem_and_remedy() -> None:
    """The text an operator sees has both; each is kept by itself too."""
    error = IbdraError("mlx5_0 is gone", remedy="plug it in")
    assert "mlx5_0 is gone: plug it in" == str(error)
    assert ("mlx5_0 is gone", "plug it in") == (error.problem, error.remedy)


def test_an_invalid_config_knows_its_field() -> None:
    """The field is the whole document unless it is told."""
    assert "mtu" == InvalidConfig("p", remedy="r", field="mtu").field
    assert "" == InvalidConfig("p", remedy="r").field


@pytest.mark.parametrize(
    ("number", "shown"),
    [(errno.EBUSY, "EBUSY"), (errno.ENODEV, "ENODEV"), (524, "errno 524")],
)
def test_a_kernel_refusal_names_its_errno(number: int, shown: str) -> None:
    """The symbol stands in the problem; a number without one (ENOTSUPP) is shown as it is."""
    error = KernelRefused("mlx5_0 cannot be moved", remedy="wait", errno=number)
    assert number == error.errno
    assert f"mlx5_0 cannot be moved ({shown}): wait" == str(error)
