"""What the outputs lack is the negative gradient of the loss."""

from __future__ import annotations

import numpy as np
import pytest
from starts import digits, mlp, model

from pysurgeon.evolution import calibrated, missed
from pysurgeon.graph.session import Session


def test_it_is_the_slope_of_the_cross_entropy() -> None:
    network = model(mlp((6,)))
    data = digits()
    calibration = calibrated(network, data)
    found = missed(network, data, calibration)
    assert found is not None
    assert calibration.targets is not None
    (logits,) = Session(network).run(calibration.feeds).values()

    def losses(z: np.ndarray) -> np.ndarray:
        z = z.astype(np.float64)
        return np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), calibration.targets]

    for k in (0, 3, 9):
        moved = logits.astype(np.float64).copy()
        moved[:, k] += 1e-4
        slope = (losses(moved) - losses(logits)) / 1e-4
        np.testing.assert_allclose(found[:, k], -slope, atol=1e-3)
    assert found.sum() == pytest.approx(0.0, abs=1e-6)
