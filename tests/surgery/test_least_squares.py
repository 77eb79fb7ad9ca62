"""Ridge least squares against solutions worked out directly, and against samples that it did not see."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysurgeon.graph import Array
from pysurgeon.surgery.calibration import FOLDS
from pysurgeon.surgery.methods.least_squares import RIDGES, fit


def problem(seed: int, samples: int, k: int, m: int, noise: float) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((samples, k)) @ rng.standard_normal((k, k)) + rng.standard_normal(k)
    truth = rng.standard_normal((k, m))
    return x, x @ truth + rng.standard_normal(m) + noise * rng.standard_normal((samples, m)), truth


@given(seed=st.integers(0, 10_000), k=st.integers(1, 8), m=st.integers(1, 5))
def test_with_many_samples_it_is_plain_least_squares(seed, k, m):
    x, y, _ = problem(seed, 60 * k, k, m, noise=0.3)
    found = fit(x, y, np.arange(len(x)) % FOLDS, constant=True)
    expected, *_ = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), y, rcond=None)
    best = np.square(y - np.column_stack([x, np.ones(len(x))]) @ expected).sum()
    assert np.square(y - x @ found.matrix - found.constant).sum() <= best * 1.02


@given(seed=st.integers(0, 10_000), k=st.integers(1, 8))
def test_what_is_linear_is_found_without_a_trace(seed, k):
    x, y, _ = problem(seed, 20 * k, k, 3, noise=0.0)
    found = fit(x, y, np.arange(len(x)) % FOLDS, constant=True)
    assert found.lost <= 1e-8 * np.square(y).sum()
    np.testing.assert_allclose(x @ found.matrix + found.constant, y, atol=1e-4 * np.abs(y).max())


@pytest.mark.parametrize(("samples", "tolerance"), [(60, 0.6), (150, 0.15), (2000, 0.05)])
def test_the_loss_is_that_on_samples_it_did_not_see(samples, tolerance):
    """Forty columns: with 60 samples, what the fit leaves of its own samples is far too little; what three quarters of them
    leave of the rest is on the cautious side."""
    ratios, optimistic = [], []
    for seed in range(12):
        x, y, _ = problem(seed, samples + 5000, 40, 6, noise=2.0)
        found = fit(x[:samples], y[:samples], np.arange(samples) % FOLDS, constant=True)
        errors = np.square(y - x @ found.matrix - found.constant).sum(1)
        ratios.append(np.sqrt(found.lost / samples / errors[samples:].mean()))
        optimistic.append(np.sqrt(errors[:samples].mean() / errors[samples:].mean()))
    assert np.mean(ratios) == pytest.approx(1.0, abs=tolerance)
    assert abs(np.mean(ratios) - 1.0) <= abs(np.mean(optimistic) - 1.0) + 0.01


def test_more_columns_than_samples_take_a_larger_ridge():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 50))
    y = x @ rng.standard_normal((50, 4)) + 5.0 * rng.standard_normal((30, 4))
    found = fit(x, y, np.arange(30) % FOLDS, constant=False)
    assert np.isfinite(found.ridge)
    assert found.ridge > RIDGES[0]
    assert found.lost < np.square(y).sum()
    assert not found.constant.any()


def test_what_cannot_be_predicted_is_left_alone():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 30)), rng.standard_normal((40, 3))
    found = fit(x, y, np.arange(40) % FOLDS, constant=False)
    assert found.lost <= np.square(y).sum() * (1 + 1e-9)
    if not np.isfinite(found.ridge):
        assert not found.matrix.any()


def test_one_sample_teaches_nothing():
    found = fit(np.ones((5, 2)), np.ones((5, 3)), np.zeros(5, np.int64), constant=False)
    assert not found.matrix.any()
    assert found.lost == pytest.approx(15.0)


@given(seed=st.integers(0, 10_000))
def test_errors_are_measured_in_the_metric(seed):
    """A direction that nobody looks at does not count."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((200, 3))
    y = np.column_stack([x @ rng.standard_normal(3), rng.standard_normal(200) * 10])
    found = fit(x, y, np.arange(200) % FOLDS, constant=False, metric=np.diag([1.0, 0.0]))
    assert found.lost <= 1e-10 * np.square(y[:, 0]).sum()
