"""Greedy elimination: the compiled kernel and its twin."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pysurgeon import kernels
from pysurgeon.errors import DataError
from pysurgeon.kernels import _native, reference

BOTH = pytest.mark.parametrize("backend", [kernels, reference], ids=["native", "reference"])


def readers(seed, n, count):
    rng = np.random.default_rng(seed)
    data = [rng.standard_normal((3 * n + 1, n)) for _ in range(count)]
    grams = [x.T @ x / len(x) + 1e-6 * np.eye(n) for x in data]
    weights = [rng.standard_normal((n, n + 3)) for _ in range(count)]
    return [np.linalg.inv(g) for g in grams], [w @ w.T for w in weights], [1 / np.diag(g) for g in grams]


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 40),
    count=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
    most=st.sampled_from([np.inf, 30.0, 0.0]),
    share=st.sampled_from([0.0, 0.3, 1.0]),
    level=st.sampled_from(["vnni", "avx512", "avx2", "baseline"]),
)
def test_elimination_is_its_twin(n, count, seed, most, share, level):
    given_ = readers(seed, n, count)
    before = [[array.copy() for array in arrays] for arrays in given_]
    first = [int(r) for r in np.random.default_rng(seed).permutation(n)[: round(share * n)]]
    expected, curve = reference.eliminate(*given_, first=first, most=most)
    if not _native.choose_instructions(level):
        return
    try:
        order, cost = kernels.eliminate(*given_, first=first, most=most)
    finally:
        _native.choose_instructions("best")
    assert order.dtype == np.int64
    np.testing.assert_array_equal(order, expected)
    np.testing.assert_array_equal(order[: len(first)], first)
    assert not cost[: len(first)].any()
    np.testing.assert_allclose(cost, curve, rtol=1e-9)
    for arrays, copies in zip(given_, before, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(arrays, copies, strict=True))


@BOTH
def test_equal_units_go_in_their_own_order(backend: ModuleType):
    order, cost = backend.eliminate([np.eye(6)], [np.eye(6)], [np.ones(6)])
    np.testing.assert_array_equal(order, np.arange(6))
    np.testing.assert_allclose(cost, np.arange(1, 7))


@BOTH
def test_nobody_asks_beyond_the_most(backend: ModuleType):
    order, cost = backend.eliminate([np.eye(4)], [np.diag([3.0, 1.0, 2.0, 4.0])], [np.ones(4)], most=2.5)
    np.testing.assert_array_equal(order, [1, 2, 0, 3])
    np.testing.assert_array_equal(cost, [1, 3, np.inf, np.inf])


@BOTH
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [], []), "one reader at least"),
        (([np.eye(2)], [np.eye(2), np.eye(2)], [np.ones(2)]), "one of each"),
        (([np.eye(2)], [np.eye(3)], [np.ones(2)]), r"energy of reader 0 has shape \(3, 3\), expected \(2, 2\)"),
        (([np.eye(2), np.eye(3)], [np.eye(2)] * 2, [np.ones(2)] * 2), "inverse of reader 1"),
        (([np.eye(2)], [np.eye(2)], [np.ones(1)]), "floor of reader 0"),
        (([np.ones((2, 3))], [np.eye(2)], [np.ones(2)]), "inverse of reader 0"),
    ],
)
def test_what_does_not_fit_is_named(backend: ModuleType, arguments, message):
    with pytest.raises(DataError, match=message):
        backend.eliminate(*arguments)


@BOTH
@pytest.mark.parametrize("first", [[0, 0], [4], [-1]])
def test_what_goes_first_are_units(backend: ModuleType, first: list[int]):
    with pytest.raises(DataError, match="each once"):
        backend.eliminate([np.eye(4)], [np.eye(4)], [np.ones(4)], first=first)
