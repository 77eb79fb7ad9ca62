"""Singular values and truncated decompositions: the compiled kernels and their twin answer to the same list."""

from __future__ import annotations

import signal
import threading
import time
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pysurgeon import kernels
from pysurgeon.errors import DataError, UsageError
from pysurgeon.kernels import _native, reference

BOTH = pytest.mark.parametrize("backend", [kernels, reference], ids=["native", "reference"])


LEVELS = ("vnni", "avx512", "avx2", "baseline")  # the best first


@pytest.fixture(params=LEVELS)
def instructions(request):
    """Takes the loops of one instruction set after the other, those that this processor has."""
    if not _native.choose_instructions(request.param):
        pytest.skip(f"no {request.param} here")
    yield request.param
    _native.choose_instructions("best")


def spectrum(m, n, values, seed=0):
    """A matrix with these singular values."""
    rng = np.random.default_rng(seed)
    k = len(values)
    U = np.linalg.qr(rng.standard_normal((m, k)))[0]
    V = np.linalg.qr(rng.standard_normal((n, k)))[0]
    return (U * values @ V.T).astype(np.float32)


SMALLEST = 1.5e-45  # The step of denormal numbers in float32: no value can be finer than that.

# What is promised of every matrix: errors as shares of the largest singular value, and of the best residual.
VALUE, ORTHOGONAL, RESIDUAL = 1e-4, 1e-5, 1.01


def check_factors(matrix, factors, k):
    """They are orthonormal, as good as the best of that rank, and of the exact values."""
    U, s, Vt = (part.astype(np.float64) for part in factors)
    m, n = matrix.shape
    assert U.shape == (m, k)
    assert s.shape == (k,)
    assert Vt.shape == (k, n)
    assert all(part.dtype == np.float32 for part in factors)
    exact = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    largest = exact.max(initial=0.0)
    assert np.all(np.diff(s) <= 0)
    assert np.all(s >= 0)
    np.testing.assert_allclose(s, exact[:k], rtol=0, atol=VALUE * largest + SMALLEST)
    np.testing.assert_allclose(U.T @ U, np.eye(k), rtol=0, atol=ORTHOGONAL)
    np.testing.assert_allclose(Vt @ Vt.T, np.eye(k), rtol=0, atol=ORTHOGONAL)
    residual = np.linalg.norm(matrix - U * s @ Vt)
    assert residual <= RESIDUAL * np.linalg.norm(exact[k:]) + (1e-6 * largest + SMALLEST) * np.sqrt(max(k, 1))


SPECTRA = {
    "random": lambda m, n: np.random.default_rng(m).standard_normal((m, n)).astype(np.float32),
    "power law": lambda m, n: spectrum(m, n, 1.0 / np.arange(1, min(m, n) + 1)),
    "geometric": lambda m, n: spectrum(m, n, 0.5 ** np.arange(min(m, n))),
    "flat": lambda m, n: spectrum(m, n, np.ones(min(m, n))),
    "repeated": lambda m, n: spectrum(m, n, np.repeat([5.0, 2.0, 1.0, 0.0], -(-min(m, n) // 4))[: min(m, n)]),
    "rank one": lambda m, n: spectrum(m, n, [3.0]),
    "ones": lambda m, n: np.ones((m, n), dtype=np.float32),
    "zeros": lambda m, n: np.zeros((m, n), dtype=np.float32),
    "zero rows": lambda m, n: np.where(np.arange(m)[:, None] % 2, 0, np.arange(m * n).reshape(m, n)).astype(np.float32),
    "identity": lambda m, n: np.eye(m, n, dtype=np.float32),
    "huge": lambda m, n: spectrum(m, n, 1e38 / np.arange(1, min(m, n) + 1)),
    "denormal": lambda m, n: (np.random.default_rng(1).integers(-500, 500, (m, n)) * np.float32(1e-45)).astype("f4"),
}


@BOTH
@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 3), (33, 33), (17, 200), (200, 17), (130, 70)])
def test_factors_are_the_best_of_their_rank(backend: ModuleType, name, shape):
    matrix = SPECTRA[name](*shape)
    smaller = min(shape)
    for k in sorted({0, 1, smaller // 4, smaller}):
        check_factors(matrix, backend.truncated_svd([matrix], k)[0], k)


@BOTH
@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (33, 33), (17, 200), (200, 17)])
def test_values_are_as_promised(backend: ModuleType, name, shape):
    matrix = SPECTRA[name](*shape)
    (values,) = backend.singular_values([matrix])
    exact = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    assert values.dtype == np.float32
    assert values.shape == exact.shape
    assert np.all(np.diff(values) <= 0)
    np.testing.assert_allclose(values, exact, rtol=0, atol=VALUE * exact[0] + SMALLEST)


@pytest.mark.parametrize("mean", [0.0, 0.5])  # a mean adds up what is not rounded up as often as down
@pytest.mark.parametrize("shape", [(64, 576), (300, 700), (520, 130)])
def test_values_of_layers_are_exact_to_rounding(instructions, shape, mean):
    matrix = (np.random.default_rng(4).standard_normal(shape) + mean).astype(np.float32)
    exact = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    rounded = instructions == "vnni" and min(shape) >= 128  # to 16 bits; else to float32
    off = (1e-5 if rounded else 1e-6) * exact[0]
    np.testing.assert_allclose(kernels.singular_values([matrix])[0], exact, rtol=0, atol=off)
    np.testing.assert_allclose(kernels.truncated_svd([matrix], 20)[0].s, exact[:20], rtol=0, atol=1e-6 * exact[0])


@pytest.mark.parametrize(
    ("shape", "rounded"),
    [((300, 700), True), ((700, 300), True), ((128, 192), True), ((127, 576), False), ((300, 400), False)],
)
def test_integers_are_multiplied_where_that_pays(shape, rounded):
    if not _native.choose_instructions("vnni"):
        pytest.skip("no vnni here")
    matrix = np.random.default_rng(4).standard_normal(shape).astype(np.float32)
    try:
        values = kernels.singular_values([matrix])[0]
        _native.choose_instructions("avx512")
        assert np.array_equal(values, kernels.singular_values([matrix])[0]) != rounded
    finally:
        _native.choose_instructions("best")


@pytest.mark.parametrize("small", [1e-1, 1e-2, 1e-3])
def test_blocks_near_the_identity(instructions, small):
    """One element of a vector dwarfs its neighbours and all values are equal: rounding to integers moves these the most."""
    rng = np.random.default_rng(0)
    matrix = np.zeros((512, 768), dtype=np.float32)
    for i in range(0, 512, 32):
        skew = small * rng.standard_normal((32, 32))
        skew -= skew.T
        matrix[i : i + 32, i : i + 32] = np.linalg.solve(np.eye(32) + skew, np.eye(32) - skew)  # a rotation
    for each in (matrix, np.ascontiguousarray(matrix.T)):
        exact = np.linalg.svd(each.astype(np.float64), compute_uv=False)
        values = kernels.singular_values([each])[0]
        np.testing.assert_allclose(values, exact, rtol=0, atol=VALUE * exact[0])
        check_factors(each, kernels.truncated_svd([each], 128)[0], 128)


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("shape", [(1, 2), (15, 16), (17, 33), (130, 300), (300, 130), (64, 64)])
def test_every_instruction_set_keeps_the_promises(instructions, name, shape):
    assert _native.instructions() == instructions
    matrix = SPECTRA[name](*shape)
    exact = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    values = kernels.singular_values([matrix])[0]
    np.testing.assert_allclose(values, exact, rtol=0, atol=VALUE * exact[0] + SMALLEST)
    k = (min(shape) + 3) // 4
    check_factors(matrix, kernels.truncated_svd([matrix], k)[0], k)


def test_instructions_that_nobody_knows_are_refused():
    assert not _native.choose_instructions("sse9")
    assert _native.instructions() in LEVELS


def test_the_best_instructions_are_the_first_that_there_are():
    best = next(level for level in LEVELS if _native.choose_instructions(level))
    _native.choose_instructions("best")
    assert _native.instructions() == best


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(0, 40),
    columns=st.integers(0, 40),
    rank=st.integers(0, 50),
    decades=st.floats(0, 30),
    seed=st.integers(0, 2**32 - 1),
)
def test_factors_of_any_matrix(rows, columns, rank, decades, seed):
    rng = np.random.default_rng(seed)
    k = min(rows, columns)
    matrix = (
        spectrum(rows, columns, 10.0 ** -np.linspace(0, decades, k), seed) if k else np.zeros((rows, columns), "f4")
    )
    matrix[rng.random(rows) < 0.1] = 0.0
    (factors,) = kernels.truncated_svd([matrix], rank)
    check_factors(matrix, factors, min(rank, k))
    np.testing.assert_allclose(kernels.singular_values([matrix])[0][:rank], factors.s, rtol=0, atol=VALUE)


@pytest.mark.parametrize("shape", [(700, 300), (300, 2000), (65, 5000)])
def test_larger_than_one_slice(shape):
    matrix = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    (factors,) = kernels.truncated_svd([matrix], 40)
    check_factors(matrix, factors, 40)


def test_tiny_values_keep_orthogonal_vectors():
    matrix = spectrum(60, 40, np.concatenate([np.ones(3), np.full(17, 1e-7), np.full(20, 1e-12)]))
    (factors,) = kernels.truncated_svd([matrix], 40)
    check_factors(matrix, factors, 40)


@pytest.mark.parametrize("small", [3e-4, 3e-5, 1e-5, 3e-6])
def test_two_levels_far_apart_keep_orthogonal_vectors(small):
    """Both sides, where the vectors of one are made from the other's and small values amplify its rounding."""
    rng = np.random.default_rng(12)
    for _ in range(3):
        matrix = spectrum(101, 209, np.concatenate([np.ones(60), small * (1 + 0.1 * rng.random(41))]), rng.integers(99))
        check_factors(matrix, kernels.truncated_svd([matrix], 99)[0], 99)


def test_results_do_not_depend_on_threads_or_company():
    rng = np.random.default_rng(5)
    matrices = [rng.standard_normal(rng.integers(1, 90, 2)).astype(np.float32) for _ in range(23)]
    ranks = [int(rank) for rank in rng.integers(0, 20, 23)]
    matrices.append(spectrum(300, 270, 1.0 / np.arange(1, 271)))  # few of many, which are found another way
    ranks.append(2)
    matrices.append(rng.standard_normal((150, 400)).astype(np.float32))  # large enough for products of integers
    ranks.append(40)
    alone = [kernels.truncated_svd([matrix], rank)[0] for matrix, rank in zip(matrices, ranks, strict=True)]
    for threads in (1, 2, 5, 64):
        together = kernels.truncated_svd(matrices, ranks, threads=threads)
        for a, b in zip(alone, together, strict=True):
            assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
        for matrix, values in zip(matrices, kernels.singular_values(matrices, threads=threads), strict=True):
            assert np.array_equal(values, kernels.singular_values([matrix])[0])


@BOTH
def test_any_layout_and_type_of_the_input(backend: ModuleType):
    matrix = np.random.default_rng(7).standard_normal((12, 20)).astype(np.float32)
    matrix = np.round(matrix * 16)
    read_only = matrix.copy()
    read_only.flags.writeable = False
    wide = np.zeros((24, 60), dtype=np.float32)
    wide[::2, ::3] = matrix
    buffer = bytearray(matrix.nbytes + 4)
    shifted = np.frombuffer(buffer, dtype=np.float32, offset=4).reshape(matrix.shape)
    shifted[...] = matrix
    inputs = [
        matrix,
        read_only,
        np.asfortranarray(matrix),
        wide[::2, ::3],
        matrix[::-1][::-1],
        shifted,
        matrix.astype(np.float64),
        matrix.astype(np.float16),
        matrix.astype(np.int32),
        matrix.astype(">f4"),
        matrix.tolist(),
    ]
    before = matrix.copy()
    expected = backend.truncated_svd([matrix], 5)[0]
    for given_ in inputs:
        factors = backend.truncated_svd([given_], 5)[0]
        assert all(np.array_equal(a, b) for a, b in zip(factors, expected, strict=True))
    assert np.array_equal(matrix, before)


@BOTH
def test_no_matrices(backend: ModuleType):
    assert backend.singular_values([]) == []
    assert backend.truncated_svd([], 3) == []
    assert backend.truncated_svd([], []) == []


@BOTH
def test_empty_matrices(backend: ModuleType):
    values = backend.singular_values([np.zeros((0, 3)), np.zeros((4, 0))])
    assert [v.shape for v in values] == [(0,), (0,)]
    (factors,) = backend.truncated_svd([np.zeros((0, 3))], 2)
    assert [part.shape for part in factors] == [(0, 0), (0,), (0, 3)]


@BOTH
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("rank", [0, 2])
def test_what_is_not_finite_is_named(backend: ModuleType, poison, threads, rank):
    matrices = [np.ones((3, 4), dtype=np.float32) for _ in range(5)]
    matrices.append(np.ones((30, 40), dtype=np.float32))
    matrices[2][1, 3] = poison
    matrices[5][29, 39] = poison
    with pytest.raises(DataError, match=r"Matrix 2 \(3 x 4\) holds NaN or infinity"):
        backend.singular_values(matrices, threads=threads)
    with pytest.raises(DataError, match=r"Matrix 2 \(3 x 4\) holds NaN or infinity"):
        backend.truncated_svd(matrices, rank, threads=threads)


@BOTH
def test_values_beyond_float32_are_refused(backend: ModuleType):
    with pytest.raises(DataError, match=r"Matrix 1 .* beyond the range of float32"):
        backend.singular_values([np.ones((2, 2)), np.full((4, 4), 3e38)])
    with pytest.raises(DataError, match=r"Matrix 0 .* holds NaN or infinity"):
        backend.singular_values([np.full((2, 2), 1e300)])


@BOTH
@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones(3), "2 axes"),
        (np.ones((2, 2, 2)), "2 axes"),
        (np.ones((2, 2), dtype=complex), "real numbers"),
        (np.array([["a"]]), "real numbers"),
        ([[1.0], [1.0, 2.0]], "no array"),
    ],
)
def test_what_is_no_matrix_is_named(backend: ModuleType, matrix, message):
    with pytest.raises(DataError, match=f"Matrix 1 .*{message}"):
        backend.singular_values([np.ones((2, 2)), matrix])


@BOTH
def test_the_rank_by_what_may_be_left(backend: ModuleType):
    matrices = [spectrum(30, 20, np.array([8.0, 4, 2, 1])), np.zeros((3, 4), "f4"), np.zeros((0, 4), "f4")]
    whole = 64 + 16 + 4 + 1

    def ranks(**share):
        return [len(factors.s) for factors in backend.truncated_svd(matrices, **share)]

    assert ranks(energy=0.0) == [0, 0, 0]
    assert ranks(energy=63 / whole) == [1, 0, 0]
    assert ranks(energy=65 / whole) == [2, 0, 0]
    assert ranks(tolerance=1.0) == [0, 0, 0]
    assert ranks(tolerance=np.sqrt(5.1 / whole)) == [2, 0, 0]
    assert ranks(tolerance=np.sqrt(4.9 / whole)) == [3, 0, 0]
    assert ranks(tolerance=1e-3) == [4, 0, 0]
    for wrong in ({}, {"energy": 0.5, "tolerance": 0.5}, {"rank": 1, "energy": 0.5}):
        with pytest.raises(UsageError, match="exactly one"):
            ranks(**wrong)
    for wrong in ({"energy": 1.5}, {"tolerance": -0.1}, {"energy": np.nan}):
        with pytest.raises(UsageError, match="from 0 to 1"):
            ranks(**wrong)


def test_a_small_tolerance_is_not_left_to_integers(instructions):
    """Units that repeat others leave values of zero, which the rank that is asked for tells from small ones."""
    matrix = np.random.default_rng(0).standard_normal((256, 512)).astype(np.float32)
    matrix[-12:] = matrix[:12]
    for share in ({"tolerance": 2e-6}, {"energy": 1 - 1e-11}):
        assert len(kernels.truncated_svd([matrix], **share)[0].s) == 244


@BOTH
def test_ranks_and_threads_that_are_none(backend: ModuleType):
    matrices = [np.ones((2, 3)), np.ones((3, 2))]
    with pytest.raises(UsageError, match="3 ranks were given for 2 matrices"):
        backend.truncated_svd(matrices, [1, 1, 1])
    with pytest.raises(UsageError, match="matrix 1 is -1"):
        backend.truncated_svd(matrices, [1, -1])
    with pytest.raises(UsageError, match=r"matrix 0 is 1\.5"):
        backend.truncated_svd(matrices, [1.5, 1])
    for threads in (0, -1, 1.5):
        with pytest.raises(UsageError, match="threads is"):
            backend.singular_values(matrices, threads=threads)


def test_python_runs_on_while_the_kernel_works():
    """The interpreter's lock is given back: another thread gets on during one call, more than once."""
    matrices = [np.random.default_rng(0).standard_normal((400, 400)).astype(np.float32)] * 4
    ticks, done = [], threading.Event()

    def tick():
        while not done.wait(0.001):
            ticks.append(None)

    def ticks_during_a_call():
        before = len(ticks)
        kernels.singular_values(matrices)
        return len(ticks) - before

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        assert any(ticks_during_a_call() >= 3 for _ in range(50))
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_signal_ends_a_call_between_two_matrices(threads):
    """Ctrl-C in the middle of many matrices: some seconds of work stop at once."""
    matrices = [np.random.default_rng(0).standard_normal((300, 300)).astype(np.float32)] * 3000

    def handler(signum, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, handler)
    try:
        start = time.process_time()
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            kernels.singular_values(matrices, threads=threads)
        assert time.process_time() - start < 1.5
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_many_callers_at_once():
    rng = np.random.default_rng(9)
    matrices = [rng.standard_normal((60, 80)).astype(np.float32) for _ in range(6)]
    expected = kernels.truncated_svd(matrices, 10)
    results = [None] * 6

    def call(i):
        results[i] = [kernels.truncated_svd([matrices[i]], 10, threads=2)[0] for _ in range(5)]

    callers = [threading.Thread(target=call, args=(i,)) for i in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for i, repeated in enumerate(results):
        for factors in repeated:
            assert all(np.array_equal(a, b) for a, b in zip(factors, expected[i], strict=True))
