"""Every engine answers to one list of tests."""

from __future__ import annotations

import pytest
from engines import ENGINES

from pysurgeon.training import LocalTrainer


@pytest.fixture(params=ENGINES)
def trainer(request: pytest.FixtureRequest) -> LocalTrainer:
    """A trainer in this process, on each of the engines."""
    return LocalTrainer(request.param)
