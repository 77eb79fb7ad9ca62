"""Settings that all tests share."""

from __future__ import annotations

from hypothesis import settings

# Derandomized: a test that passes today passes tomorrow, and a failure can be seen again.
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")
