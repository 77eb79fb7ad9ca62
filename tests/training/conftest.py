"""Every engine answers to one list of tests."""

from __future__ import annotations

import pytest

from pysurgeon.training import LocalTrainer, OrtTrainer, TorchTrainer


@pytest.fixture(params=[OrtTrainer, TorchTrainer], ids=["ort", "torch"])
def trainer(request: pytest.FixtureRequest) -> LocalTrainer:
    """A trainer in this process, on each of the engines."""
    made: LocalTrainer = request.param()
    return made
