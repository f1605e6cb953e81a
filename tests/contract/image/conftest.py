"""The image that all of these tests look at."""

from __future__ import annotations

import pytest

from contract.image.built import NoImage, built_image


@pytest.fixture(scope="session")
def image() -> str:
    """Build the image on a Debian that is made here; give its tag."""
    try:
        return built_image()
    except NoImage as reason:
        pytest.skip(str(reason))
