"""The criteria, on spectra whose rank is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pysurgeon.diagnosis import activation_rank, effective_rank, stable_rank, weight_rank
from pysurgeon.diagnosis.criteria import _hard_threshold, _marchenko_pastur_median
from pysurgeon.graph import Array

SHAPES = [(64, 64), (32, 288), (288, 32), (64, 20), (10, 200), (128, 100)]


def planted(shape: tuple[int, int], rank: int, *, noise: float, strength: float, seed: int) -> Array:
    """Singular values of a matrix of this rank, each direction `strength` times the noise's edge, plus noise."""
    m, n = shape
    rng = np.random.default_rng([seed, m, n, rank])
    left, _ = np.linalg.qr(rng.standard_normal((m, rank)))
    right, _ = np.linalg.qr(rng.standard_normal((n, rank)))
    edge = np.sqrt(m) + np.sqrt(n)
    signal = (left * (strength * edge * (1 + 0.2 * np.arange(rank)))) @ right.T
    return np.linalg.svd(noise * (signal + rng.standard_normal(shape)), compute_uv=False)


@pytest.mark.parametrize("noise", [1e-4, 1.0, 1e3])
@pytest.mark.parametrize("rank", [1, 2, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_rank_of_a_planted_spectrum_is_found(shape: tuple[int, int], rank: int, noise: float) -> None:
    found = [weight_rank(planted(shape, rank, noise=noise, strength=2.0, seed=seed), shape) for seed in range(5)]
    assert found == [rank] * 5


@pytest.mark.parametrize("shape", SHAPES)
def test_noise_alone_has_rank_zero(shape: tuple[int, int]) -> None:
    found = [
        weight_rank(np.linalg.svd(np.random.default_rng([s, *shape]).standard_normal(shape), compute_uv=False), shape)
        for s in range(40)
    ]
    assert found.count(0) >= 39


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rank", [1, 3])
def test_low_rank_without_noise_is_exact(shape: tuple[int, int], rank: int) -> None:
    rng = np.random.default_rng(rank)
    matrix = rng.standard_normal((shape[0], rank)) @ rng.standard_normal((rank, shape[1]))
    for dtype in (np.float32, np.float64):
        assert weight_rank(np.linalg.svd(matrix.astype(dtype), compute_uv=False), shape) == rank


@pytest.mark.parametrize(
    ("values", "shape", "rank"),
    [
        ([], (0, 4), 0),
        ([0.0], (1, 5), 0),
        ([0.0] * 6, (6, 9), 0),
        ([3.0], (1, 1), 0),  # one value cannot tell signal from noise
        ([3.0], (1, 50), 0),
        ([5.0] + [0.0] * 7, (8, 8), 1),
        ([5.0, 4.0] + [1e-9] * 6, (8, 30), 2),
        ([1.0] * 8, (8, 8), 0),
    ],
)
def test_degenerate_spectra(values: list[float], shape: tuple[int, int], rank: int) -> None:
    assert weight_rank(np.array(values), shape) == rank


@pytest.mark.parametrize("shape", SHAPES)
def test_first_direction_passes_at_the_optimal_hard_threshold(shape: tuple[int, int]) -> None:
    small, large = min(shape), max(shape)
    beta = small / large
    bulk = np.ones(small - 1)
    # Gavish and Donoho, section III.D: with unknown noise the threshold is omega(beta) times the median singular value.
    omega = _hard_threshold(beta) / np.sqrt(_marchenko_pastur_median(beta))
    assert weight_rank(np.r_[omega * 1.0001, bulk], shape) == 1
    assert weight_rank(np.r_[omega * 0.9999, bulk], shape) == 0


def test_threshold_has_the_published_values() -> None:
    assert _hard_threshold(1.0) == pytest.approx(4 / np.sqrt(3))
    for beta in np.linspace(0.05, 1.0, 20):
        omega = _hard_threshold(beta) / np.sqrt(_marchenko_pastur_median(beta))
        # Their equation 5, which they give as accurate to 0.02.
        assert omega == pytest.approx(0.56 * beta**3 - 0.95 * beta**2 + 1.82 * beta + 1.43, abs=0.025)
    assert _hard_threshold(1.0) / np.sqrt(_marchenko_pastur_median(1.0)) == pytest.approx(2.8582, abs=1e-3)


@pytest.mark.parametrize("beta", [0.05, 0.25, 0.5, 0.8, 1.0])
def test_marchenko_pastur_median_agrees_with_random_matrices(beta: float) -> None:
    large = 500
    medians = []
    for seed in range(6):
        noise = np.random.default_rng(seed).standard_normal((round(beta * large), large))
        medians.append(np.median(np.linalg.eigvalsh(noise @ noise.T / large)))
    assert _marchenko_pastur_median(beta) == pytest.approx(np.mean(medians), rel=0.01)


@given(st.integers(0, 4), st.floats(-6, 6), st.integers(0, 50))
def test_weight_rank_does_not_depend_on_the_scale(rank: int, exponent: float, seed: int) -> None:
    values = planted((24, 60), rank, noise=1.0, strength=1.5, seed=seed)
    assert weight_rank(values * 10**exponent, (24, 60)) == weight_rank(values, (24, 60))


@given(st.integers(0, 50))
def test_weight_rank_does_not_depend_on_the_orientation(seed: int) -> None:
    values = planted((24, 60), 3, noise=1.0, strength=1.2, seed=seed)
    assert weight_rank(values, (24, 60)) == weight_rank(values, (60, 24))


# --- activations --------------------------------------------------------------------------------------------------------


def sample_covariance(rank: int, *, dims: int = 24, samples: int = 3000, seed: int = 0, scale: float = 1.0) -> Array:
    """Descending eigenvalues of the covariance of samples with this many components above isotropic noise."""
    rng = np.random.default_rng([seed, rank])
    basis, _ = np.linalg.qr(rng.standard_normal((dims, rank)))
    rows = rng.standard_normal((samples, rank)) * np.linspace(4, 2, rank) @ basis.T + rng.standard_normal(
        (samples, dims)
    )
    return np.linalg.eigvalsh(np.cov(scale * rows, rowvar=False))[::-1]


@pytest.mark.parametrize("rank", [1, 2, 5, 12, 22])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_components_of_a_planted_covariance_are_counted(rank: int, scale: float) -> None:
    found = [activation_rank(sample_covariance(rank, seed=s, scale=scale), 3000) for s in range(5)]
    assert found == [rank] * 5


@pytest.mark.parametrize(
    ("eigenvalues", "rank"),
    [([], 0), ([0.0, 0.0, 0.0], 0), ([2.0], 1), ([1.0, 0.0, 0.0, 0.0], 1), ([3.0, 2.0, 0.0, -1e-18], 2)],
)
def test_degenerate_covariances(eigenvalues: list[float], rank: int) -> None:
    assert activation_rank(np.array(eigenvalues), 1000) == rank


def test_isotropic_activations_have_the_smallest_number_of_components() -> None:
    rows = np.random.default_rng(0).standard_normal((4000, 16))
    assert activation_rank(np.linalg.eigvalsh(np.cov(rows, rowvar=False))[::-1], 4000) == 1


# --- bounds -------------------------------------------------------------------------------------------------------------

energies = arrays(np.float64, st.integers(1, 30), elements=st.one_of(st.just(0.0), st.floats(1e-6, 1e6)))


@given(energies)
def test_effective_rank_lies_between_one_and_the_number_of_energies(values: Array) -> None:
    found = effective_rank(values)
    count = int(np.sum(values > 0))
    if count == 0:
        assert found == 0.0
    else:
        assert 1 - 1e-9 <= found <= count * (1 + 1e-9)


@given(energies, st.floats(1e-6, 1e6))
def test_ranks_do_not_depend_on_the_scale(values: Array, scale: float) -> None:
    descending = np.sort(values)[::-1]
    assume(descending[0] > 0)
    assert effective_rank(values * scale) == pytest.approx(effective_rank(values), rel=1e-6)
    assert stable_rank(descending * scale) == pytest.approx(stable_rank(descending), rel=1e-6)


@given(energies)
def test_stable_rank_lies_between_one_and_the_rank(values: Array) -> None:
    descending = np.sort(values)[::-1]
    found = stable_rank(descending)
    rank = int(np.sum(descending > 0))
    assert (found == 0.0) if rank == 0 else (1 - 1e-9 <= found <= rank * (1 + 1e-9))


@given(st.integers(1, 40))
def test_equal_directions_count_in_full(n: int) -> None:
    assert effective_rank(np.full(n, 0.3)) == pytest.approx(n)
    assert stable_rank(np.full(n, 0.3)) == pytest.approx(n)


def test_ranks_of_nothing_are_zero() -> None:
    assert effective_rank(np.array([])) == 0.0
    assert stable_rank(np.array([])) == 0.0
