"""The cost curve of narrowing against Schur complements worked out one by one."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysurgeon.surgery.methods.elimination import FEW, View, eliminate, loss, ridged


def random_view(rng: np.random.Generator, n: int, *, rank: int | None = None, outputs: int = 4) -> View:
    """Correlated units, some of them weak, and a reader."""
    latent = rng.standard_normal((50, rank or n)) * np.linspace(0.2, 2.0, rank or n)
    units = latent @ rng.standard_normal((rank or n, n))
    weight = rng.standard_normal((n, outputs)) * rng.uniform(0.1, 2.0, (n, 1))
    return View(units.T @ units / len(units), weight @ weight.T)


def schur(view: View, gone: list[int]) -> float:
    """`tr(W_R' (G_RR - G_RK G_KK^-1 G_KR) W_R)` over the signal, with the ridge that keeps it defined."""
    g = ridged(view.gram)
    kept = [k for k in range(len(g)) if k not in gone]
    block = g[np.ix_(gone, gone)]
    if kept:
        block = block - g[np.ix_(gone, kept)] @ np.linalg.solve(g[np.ix_(kept, kept)], g[np.ix_(kept, gone)])
    return float(np.sum(block * view.energy[np.ix_(gone, gone)])) / view.signal


@pytest.mark.parametrize("readers", [1, 2, 3])
@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_costs_are_schur_complements(n, readers):
    rng = np.random.default_rng(n * 10 + readers)
    views = [random_view(rng, n) for _ in range(readers)]
    result = eliminate(views)
    assert sorted(result.order) == list(range(n))
    for removed in range(1, n + 1):
        gone = [int(k) for k in result.order[:removed]]
        expected = np.mean([schur(v, gone) for v in views])
        assert result.cost[removed - 1] == pytest.approx(expected, rel=1e-6)
        assert result.error(removed) == pytest.approx(np.sqrt(expected), rel=1e-6)
    assert result.error(0) == 0.0
    assert result.cost[-1] == pytest.approx(1.0, rel=1e-5)


@given(seed=st.integers(0, 10_000), n=st.integers(2, 8), readers=st.integers(1, 3))
def test_every_step_is_the_best_one_and_costs_only_rise(seed, n, readers):
    rng = np.random.default_rng(seed)
    views = [random_view(rng, n, outputs=int(rng.integers(1, 5))) for _ in range(readers)]
    result = eliminate(views)
    assert np.all(np.diff(result.cost) >= 0)
    for k in range(n):
        gone = [int(j) for j in result.order[:k]]
        options = {j: np.mean([schur(v, [*gone, j]) for v in views]) for j in range(n) if j not in gone}
        best = min(options.values())
        assert options[int(result.order[k])] <= best * (1 + 1e-6) + 1e-12


def test_greedy_is_near_the_best_pair():
    """Not a promise, but on small problems greedy must not be far off."""
    ratios = []
    for seed in range(20):
        view = random_view(np.random.default_rng(seed), 7)
        best = min(schur(view, list(pair)) for pair in combinations(range(7), 2))
        ratios.append(eliminate([view]).cost[1] / best)
    assert min(ratios) >= 1 - 1e-9
    assert np.mean(ratios) < 1.2


def test_views_are_not_modified():
    view = random_view(np.random.default_rng(0), 6)
    gram, energy = view.gram.copy(), view.energy.copy()
    eliminate([view, view])
    np.testing.assert_array_equal(view.gram, gram)
    np.testing.assert_array_equal(view.energy, energy)


@given(seed=st.integers(0, 10_000), n=st.integers(2, 8), data=st.data())
def test_loss_is_the_error_of_readers_that_do_nothing_about_it(seed, n, data):
    rng = np.random.default_rng(seed)
    units = rng.standard_normal((40, n)) @ rng.standard_normal((n, n))
    weight = rng.standard_normal((n, 3))
    view = View(units.T @ units / 40, weight @ weight.T)
    kept = np.array(sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1, max_size=n))))
    gone = np.setdiff1d(np.arange(n), kept)
    measured = np.square(units[:, gone] @ weight[gone]).sum() / np.square(units @ weight).sum()
    assert loss(view, kept) == pytest.approx(measured, rel=1e-4, abs=1e-12)


@pytest.mark.parametrize("n", [8, 40])
def test_a_gram_matrix_of_few_samples_is_shrunk_until_it_predicts_others(n):
    """As many samples as units: without shrinkage, what the kept units explain of the others is mostly noise."""
    rng = np.random.default_rng(n)
    mixture = rng.standard_normal((n, n)) * np.linspace(2.0, 0.1, n)
    few, many = (rng.standard_normal((count, n)) @ mixture.T for count in (n, 200 * n))
    kept, gone = np.arange(n // 2), np.arange(n // 2, n)
    errors = []
    for samples in (None, n):
        g = ridged(few.T @ few / n, samples)
        b = np.linalg.solve(g[np.ix_(kept, kept)], g[np.ix_(kept, gone)])
        errors.append(np.linalg.norm(many[:, gone] - many[:, kept] @ b))
    assert errors[1] < errors[0]
    plain = few.T @ few / n
    np.testing.assert_array_equal(ridged(plain, FEW * n), ridged(plain))


def test_copies_dead_units_and_units_nobody_reads_go_first_and_cost_nothing():
    rng = np.random.default_rng(3)
    units = np.maximum(rng.standard_normal((200, 6)), 0)
    units = np.column_stack([units, units[:, 1], np.zeros(200), rng.standard_normal(200)])
    weight = rng.standard_normal((9, 4))
    weight[8] = 0
    view = View(units.T @ units / 200, weight @ weight.T)
    order = eliminate([view]).order
    gone = {int(k) for k in order[:3]}
    assert gone in ({1, 7, 8}, {6, 7, 8})
    assert eliminate([view]).cost[2] < 1e-7


def test_a_width_that_is_all_dead():
    view = View(np.zeros((4, 4)), np.eye(4))
    result = eliminate([view])
    assert sorted(result.order) == [0, 1, 2, 3]
    assert np.all(np.isfinite(result.cost))
    assert loss(view, np.array([0])) == 0.0
