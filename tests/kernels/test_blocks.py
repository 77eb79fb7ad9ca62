"""Edits of one axis: the compiled kernels against their twin and against identities."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pysurgeon import kernels
from pysurgeon.errors import DataError, UsageError
from pysurgeon.kernels import reference

BOTH = pytest.mark.parametrize("backend", [kernels, reference], ids=["native", "reference"])
SIDES = st.integers(0, 7)


@settings(max_examples=150, deadline=None)
@given(outer=SIDES, n=SIDES, inner=SIDES, m=SIDES, threads=st.integers(1, 4), seed=st.integers(0, 2**32 - 1))
def test_gather_is_its_twin(outer, n, inner, m, threads, seed):
    rng = np.random.default_rng(seed)
    source = rng.standard_normal((outer, n, inner)).astype(np.float32)
    index = rng.integers(-1, n, m)
    scale = rng.standard_normal(m).astype(np.float32)
    out = kernels.gather_blocks(source, index, scale, threads=threads)
    expected = reference.gather_blocks(source, index, scale)
    assert out.dtype == np.float32
    assert out.shape == (outer, m, inner)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("shape", [(3, 50, 4000), (4000, 50, 1), (1, 500, 999), (70000, 3, 1)])
def test_gather_in_many_tasks(shape):
    rng = np.random.default_rng(1)
    source = rng.standard_normal(shape).astype(np.float32)
    index = rng.integers(-1, shape[1], 37)
    scale = rng.standard_normal(37).astype(np.float32)
    expected = reference.gather_blocks(source, index, scale)
    for threads in (1, 3):
        np.testing.assert_array_equal(kernels.gather_blocks(source, index, scale, threads=threads), expected)


@pytest.mark.parametrize("inner", [1, 9, 70])
@pytest.mark.parametrize("ones", [True, False])
def test_gather_of_runs_and_single_blocks(inner, ones):
    rng = np.random.default_rng(3)
    n = 200
    runs = [np.arange(n), rng.integers(-1, n, 50), np.arange(17, 60), np.full(30, -1), np.arange(90, 99), [n - 1, 0]]
    index = np.concatenate(runs)
    scale = np.ones(index.size, "f4") if ones else rng.choice(np.array([1, 2, 0.5], "f4"), index.size)
    source = rng.standard_normal((700, n, inner)).astype(np.float32)
    expected = reference.gather_blocks(source, index, scale)
    for threads in (1, 3):
        np.testing.assert_array_equal(kernels.gather_blocks(source, index, scale, threads=threads), expected)


@BOTH
def test_gather_by_the_identity_and_by_nothing(backend: ModuleType):
    source = np.random.default_rng(2).standard_normal((3, 5, 4)).astype(np.float32)
    before = source.copy()
    same = backend.gather_blocks(source, np.arange(5), np.ones(5))
    np.testing.assert_array_equal(same, source)
    assert not np.shares_memory(same, source)
    source[:] = np.nan  # what is not selected, or replaced by zeros, leaves no trace
    assert not backend.gather_blocks(source, [-1, -1], [2.0, np.inf]).any()
    source[:] = before
    np.testing.assert_array_equal(
        backend.gather_blocks(source, [4, 0, 4], [1, 2, 0.5]), source[:, [4, 0, 4]] * np.array([[1], [2], [0.5]], "f4")
    )


@BOTH
@pytest.mark.parametrize("wrong", [-2, 5, 2**40, -(2**63)])
def test_gather_refuses_what_is_out_of_range(backend: ModuleType, wrong):
    with pytest.raises(DataError, match=rf"index\[1\] is {wrong}, expected -1 \(zeros\) to 4"):
        backend.gather_blocks(np.zeros((2, 5, 3)), [0, wrong], [1.0, 1.0])


@BOTH
@pytest.mark.parametrize(
    ("source", "index", "scale", "message"),
    [
        (np.zeros((2, 3)), [0], [1.0], "3 axes"),
        (np.zeros((2, 3, 1)), [0.0], [1.0], "integers"),
        (np.zeros((2, 3, 1)), [[0]], [1.0], "one axis"),
        (np.zeros((2, 3, 1)), [0], [1.0, 2.0], "one factor for each"),
        (np.zeros((2, 3, 1)), [0], 1.0, "1 axes"),
    ],
)
def test_gather_refuses_what_does_not_fit(backend: ModuleType, source, index, scale, message):
    with pytest.raises(DataError, match=message):
        backend.gather_blocks(source, index, scale)


@settings(max_examples=150, deadline=None)
@given(outer=SIDES, n=SIDES, inner=SIDES, m=SIDES, threads=st.integers(1, 4), seed=st.integers(0, 2**32 - 1))
def test_map_is_its_twin(outer, n, inner, m, threads, seed):
    rng = np.random.default_rng(seed)
    source = rng.standard_normal((outer, n, inner)).astype(np.float32)
    matrix = rng.standard_normal((m, n)).astype(np.float32)
    out = kernels.map_blocks(source, matrix, threads=threads)
    assert out.dtype == np.float32
    assert out.shape == (outer, m, inner)
    np.testing.assert_allclose(out, reference.map_blocks(source, matrix), rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(5, 60, 3000), (9000, 60, 1), (1, 200, 5001), (600, 40, 9)])
def test_map_in_many_tasks_is_the_same_on_any_number_of_threads(shape):
    rng = np.random.default_rng(3)
    source = rng.standard_normal(shape).astype(np.float32)
    matrix = rng.standard_normal((45, shape[1])).astype(np.float32)
    out = kernels.map_blocks(source, matrix)
    np.testing.assert_allclose(out, reference.map_blocks(source, matrix), rtol=0, atol=1e-4)
    for threads in (2, 5):
        np.testing.assert_array_equal(kernels.map_blocks(source, matrix, threads=threads), out)


def test_map_by_a_selection_is_a_gather():
    rng = np.random.default_rng(4)
    source = rng.standard_normal((6, 9, 5)).astype(np.float32)
    index, scale = np.array([3, -1, 8, 3]), np.array([1.0, 5.0, -2.0, 0.5], dtype=np.float32)
    matrix = np.zeros((4, 9), dtype=np.float32)
    matrix[[0, 2, 3], [3, 8, 3]] = scale[[0, 2, 3]]
    np.testing.assert_array_equal(kernels.map_blocks(source, matrix), kernels.gather_blocks(source, index, scale))


@BOTH
def test_other_layouts(backend: ModuleType):
    source = np.random.default_rng(5).standard_normal((4, 3, 6)).astype(np.float32)
    matrix = np.random.default_rng(6).standard_normal((2, 3)).astype(np.float32)
    expected = backend.map_blocks(source, matrix)
    np.testing.assert_array_equal(backend.map_blocks(np.asfortranarray(source), np.asfortranarray(matrix)), expected)
    np.testing.assert_array_equal(backend.map_blocks(source.astype(np.float64), matrix), expected)
    picked = backend.gather_blocks(source.transpose(2, 1, 0), np.array([2, 0], dtype=np.uint8), [1.0, 1.0])
    np.testing.assert_array_equal(picked, source.transpose(2, 1, 0)[:, [2, 0]])


@BOTH
def test_map_refuses_what_does_not_fit(backend: ModuleType):
    with pytest.raises(DataError, match="it needs 3 columns"):
        backend.map_blocks(np.zeros((2, 3, 4)), np.zeros((3, 4)))
    with pytest.raises(DataError, match="2 axes"):
        backend.map_blocks(np.zeros((2, 3, 4)), np.zeros(3))
    with pytest.raises(UsageError, match="threads"):
        backend.map_blocks(np.zeros((2, 3, 4)), np.zeros((3, 3)), threads=0)
    with pytest.raises(UsageError, match="threads"):
        backend.gather_blocks(np.zeros((2, 3, 4)), [0], [1.0], threads=0)
