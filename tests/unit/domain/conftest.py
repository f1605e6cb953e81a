"""Settings of the domain's property tests."""

from __future__ import annotations

from hypothesis import settings

# No deadline: what a property says must not depend on how busy the machine is.
settings.register_profile("domain", deadline=None)
settings.load_profile("domain")
