"""The checks of arguments that the compiled kernels and their NumPy twins share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pysurgeon.errors import DataError, UsageError

FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]
CohortArray = npt.NDArray[np.uint16]


class CohortIndex:
    """Which cohort every element of a parameter belongs to. Made and checked once, read at every step.

    Args:
        of: uint16 of the parameter's shape, cohorts from 0; copied.

    Attributes:
        array: The same, read-only.
        count: One more than the last cohort that has an element.

    Raises:
        DataError: It is no uint16 array.
    """

    def __init__(self, of: CohortArray) -> None:
        if not isinstance(of, np.ndarray) or of.dtype != np.uint16:
            msg = f"The cohorts of elements are {getattr(of, 'dtype', type(of).__name__)}, expected a uint16 array."
            raise DataError(msg)
        self.array: CohortArray = of.copy(order="C")
        self.array.flags.writeable = False
        self.count = int(self.array.max(initial=0)) + 1


class Factors(NamedTuple):
    """The leading singular triplets of a matrix of shape ``(m, n)``: it is about ``U * s @ Vt``."""

    U: FloatArray
    """Left singular vectors, ``(m, k)``, orthonormal columns."""
    s: FloatArray
    """Singular values, ``(k,)``, descending."""
    Vt: FloatArray
    """Right singular vectors, ``(k, n)``, orthonormal rows."""


def as_floats(array: npt.ArrayLike, name: str, dimensions: int) -> FloatArray:
    """Returns a C-contiguous float32 array, which is the argument itself where it is one already.

    Args:
        array: Real numbers in any layout.
        name: What messages call it.
        dimensions: The number of axes it must have.

    Raises:
        DataError: It is not numeric, not real, or has another number of axes.
    """
    try:
        given = np.asarray(array)
    except ValueError as error:
        msg = f"{name} is no array ({error}): give one with {dimensions} axes of equal lengths."
        raise DataError(msg) from error
    if given.dtype.kind not in "fiub":
        msg = f"{name} has the type {given.dtype}, expected real numbers: convert it to float32."
        raise DataError(msg)
    if given.ndim != dimensions:
        msg = f"{name} has shape {given.shape}, expected {dimensions} axes: reshape it."
        raise DataError(msg)
    with np.errstate(over="ignore"):  # What is beyond float32 becomes infinite, and is reported where that matters.
        return np.ascontiguousarray(given, dtype=np.float32)


def as_matrices(matrices: Iterable[npt.ArrayLike]) -> list[FloatArray]:
    """Returns every matrix as a C-contiguous float32 array, without a copy where it is one."""
    return [as_floats(matrix, f"Matrix {i}", 2) for i, matrix in enumerate(matrices)]


def as_ranks(rank: int | Sequence[int], matrices: Sequence[FloatArray]) -> list[int]:
    """Returns the rank for every matrix, at most its smaller side.

    Raises:
        UsageError: A rank is negative or no integer, or their number is not that of the matrices.
    """
    given: list[Any] = [rank] * len(matrices) if isinstance(rank, int | np.integer) else list(rank)
    if len(given) != len(matrices):
        msg = f"{len(given)} ranks were given for {len(matrices)} matrices: give one for all, or one for each."
        raise UsageError(msg)
    for i, value in enumerate(given):
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 0:
            msg = f"The rank for matrix {i} is {value!r}, expected an integer from 0."
            raise UsageError(msg)
    return [min(int(value), *matrix.shape) for value, matrix in zip(given, matrices, strict=True)]


def ranks_for(
    values: Sequence[FloatArray], tolerance: float | None, energy: float | None
) -> list[int]:  # one of them is None
    """Returns for every matrix the smallest rank that leaves no more than asked.

    Args:
        values: The singular values of each.
        tolerance: Frobenius norm of what may be left, as a share of the matrix's.
        energy: Share of the squared norm that must be kept.
    """
    ranks = []
    for s in values:
        squares = s.astype(np.float64) ** 2
        left = np.append(np.cumsum(squares[::-1])[::-1], 0.0)  # left[k]: what rank k leaves
        allowed = tolerance**2 if tolerance is not None else 1.0 - (energy or 0.0)
        ranks.append(int(np.argmax(left <= allowed * left[0])))
    return ranks


def check_one_of(rank: object, tolerance: float | None, energy: float | None) -> None:
    """Refuses more or less than one way to say the rank, and shares that are none.

    Raises:
        UsageError: None or several are given, or a share is not from 0 to 1.
    """
    if sum(given is not None for given in (rank, tolerance, energy)) != 1:
        msg = f"rank is {rank!r}, tolerance {tolerance!r} and energy {energy!r}: give exactly one of them."
        raise UsageError(msg)
    for name, share in (("tolerance", tolerance), ("energy", energy)):
        if share is not None and not 0.0 <= share <= 1.0:
            msg = f"{name} is {share!r}, expected a share from 0 to 1."
            raise UsageError(msg)


def check_threads(threads: int) -> None:
    """Refuses a number of threads that is none.

    Raises:
        UsageError: It is no integer from 1.
    """
    if not isinstance(threads, int | np.integer) or isinstance(threads, bool) or threads < 1:
        msg = f"threads is {threads!r}, expected an integer from 1."
        raise UsageError(msg)


def as_gather(
    source: npt.ArrayLike, index: npt.ArrayLike, scale: npt.ArrayLike
) -> tuple[FloatArray, IndexArray, FloatArray]:
    """Returns the checked arguments of ``gather_blocks``.

    Raises:
        DataError: The shapes do not fit together, or an index is out of range.
    """
    blocks = as_floats(source, "source", 3)
    given = np.asarray(index)
    if given.ndim != 1 or (given.size > 0 and given.dtype.kind not in "iu"):
        msg = f"index has shape {given.shape} and type {given.dtype}, expected one axis of integers."
        raise DataError(msg)
    n = blocks.shape[1]
    outside = np.flatnonzero((given < -1) | (given >= n))
    if outside.size > 0:
        first = int(outside[0])
        msg = (
            f"index[{first}] is {given[first]}, expected -1 (zeros) to {n - 1}: the middle axis of source is {n} long."
        )
        raise DataError(msg)
    factors = as_floats(scale, "scale", 1)
    if factors.shape != given.shape:
        msg = f"scale has {factors.size} elements and index {given.size}: give one factor for each index."
        raise DataError(msg)
    return blocks, np.ascontiguousarray(given, dtype=np.int64), factors


def as_map(source: npt.ArrayLike, matrix: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Returns the checked arguments of ``map_blocks``.

    Raises:
        DataError: The shapes do not fit together.
    """
    blocks = as_floats(source, "source", 3)
    linear = as_floats(matrix, "matrix", 2)
    if linear.shape[1] != blocks.shape[1]:
        msg = (
            f"matrix has shape {linear.shape} and source {blocks.shape}: "
            f"it needs {blocks.shape[1]} columns, one for each block of the middle axis."
        )
        raise DataError(msg)
    return blocks, linear


def as_readers(
    inverses: Sequence[npt.ArrayLike], energies: Sequence[npt.ArrayLike], floors: Sequence[npt.ArrayLike]
) -> tuple[list[DoubleArray], list[DoubleArray], list[DoubleArray]]:
    """Returns the checked arguments of ``eliminate``.

    Raises:
        DataError: There is no reader, or the shapes do not fit together.
    """
    if not len(inverses) == len(energies) == len(floors) > 0:
        msg = (
            f"{len(inverses)} inverses, {len(energies)} energies and {len(floors)} floors were given: "
            "give one of each for every reader, and one reader at least."
        )
        raise DataError(msg)
    n = len(np.atleast_1d(inverses[0]))
    checked: list[list[DoubleArray]] = []
    for name, arrays, shape in (("inverse", inverses, (n, n)), ("energy", energies, (n, n)), ("floor", floors, (n,))):
        checked.append([np.ascontiguousarray(array, dtype=np.float64) for array in arrays])
        for i, array in enumerate(checked[-1]):
            if array.shape != shape:
                msg = f"The {name} of reader {i} has shape {array.shape}, expected {shape}: all see the same units."
                raise DataError(msg)
    return checked[0], checked[1], checked[2]


def as_first(first: Sequence[int], n: int) -> list[int]:
    """Returns the checked units that ``eliminate`` takes first.

    Raises:
        DataError: They are not units, each once.
    """
    units = [int(r) for r in first]
    if len(set(units)) < len(units) or not all(0 <= r < n for r in units):
        msg = f"Units {units} were to go first, expected some of 0 ... {n - 1}, each once."
        raise DataError(msg)
    return units


def check_live(array: object, name: str, *, like: FloatArray | None = None, writable: bool = True) -> None:
    """Refuses what cannot be worked on in place.

    Args:
        array: What should be a live view of float32 numbers.
        name: What messages call it.
        like: The array whose shape it must have.
        writable: Whether it is written on.

    Raises:
        DataError: Using it would need a copy, or it is read-only, or its shape differs.
    """
    need = "expected a C-contiguous, aligned float32 array, since it is used where it lies and never copied."
    if not isinstance(array, np.ndarray):
        msg = f"{name} is a {type(array).__name__}; {need}"
        raise DataError(msg)
    if array.dtype != np.float32 or not (array.flags.c_contiguous and array.flags.aligned):
        msg = f"{name} has type {array.dtype}, shape {array.shape} and strides {array.strides}; {need}"
        raise DataError(msg)
    if writable and not array.flags.writeable:
        msg = f"{name} is read-only, and this step writes on it: give the array that owns the numbers."
        raise DataError(msg)
    if like is not None and array.shape != like.shape:
        msg = f"{name} has shape {array.shape}, expected that of the parameter, {like.shape}."
        raise DataError(msg)


def check_adamw(
    parameter: FloatArray,
    gradient: FloatArray,
    m: FloatArray,
    v: FloatArray,
    beta1: float,
    beta2: float,
    learning_rate: float | Sequence[float],
    step: int | Sequence[int],
    cohort: CohortIndex | None,
) -> tuple[list[float], list[int]]:
    """Refuses arguments that no AdamW step can be made from; returns the rates and steps of the cohorts.

    Raises:
        DataError: An array cannot be used where it lies.
        UsageError: A coefficient or the step is out of range, or there are not as many of them as cohorts.
    """
    check_live(parameter, "parameter")
    check_live(gradient, "gradient", like=parameter, writable=False)
    check_live(m, "m", like=parameter)
    check_live(v, "v", like=parameter)
    for name, beta in (("beta1", beta1), ("beta2", beta2)):
        if not 0.0 <= beta < 1.0:
            msg = f"{name} is {beta}, expected 0 <= {name} < 1."
            raise UsageError(msg)
    steps = [int(s) for s in np.atleast_1d(step)]
    if min(steps, default=0) < 1:
        msg = f"step is {step}, expected 1 for the first step: the bias correction counts from there."
        raise UsageError(msg)
    rates = _check_cohorts(parameter, learning_rate, cohort)
    if len(steps) != len(rates):
        msg = f"{len(rates)} learning rates and {len(steps)} steps were given: give one of each for every cohort."
        raise UsageError(msg)
    return rates, steps


def check_sgd(
    parameter: FloatArray,
    gradient: FloatArray,
    momentum_buffer: FloatArray | None,
    momentum: float,
    nesterov: bool,
    learning_rate: float | Sequence[float],
    cohort: CohortIndex | None,
) -> list[float]:
    """Refuses arguments that no SGD step can be made from; returns the rates of the cohorts.

    Raises:
        DataError: An array cannot be used where it lies, or the momentum has none to live in.
        UsageError: The momentum is negative, or Nesterov's is asked for without any, or there are not as many rates as cohorts.
    """
    check_live(parameter, "parameter")
    check_live(gradient, "gradient", like=parameter, writable=False)
    if momentum_buffer is not None:
        check_live(momentum_buffer, "momentum_buffer", like=parameter)
    elif momentum != 0.0:
        msg = f"momentum is {momentum} and there is no momentum_buffer: give an array of zeros before the first step."
        raise DataError(msg)
    if momentum < 0.0:
        msg = f"momentum is {momentum}, expected 0 or more."
        raise UsageError(msg)
    if nesterov and momentum == 0.0:
        msg = "nesterov needs a momentum above 0."
        raise UsageError(msg)
    return _check_cohorts(parameter, learning_rate, cohort)


def _check_cohorts(parameter: FloatArray, learning_rate: float | Sequence[float], cohort: object) -> list[float]:
    rates = [float(r) for r in np.atleast_1d(learning_rate)]
    if cohort is None:
        if len(rates) != 1:
            msg = f"{len(rates)} learning rates were given and no cohorts: say which element belongs to which."
            raise UsageError(msg)
        return rates
    if not isinstance(cohort, CohortIndex):
        msg = f"cohort is a {type(cohort).__name__}, expected a CohortIndex, which checks an array once for all steps."
        raise DataError(msg)
    if cohort.array.shape != parameter.shape:
        msg = f"cohort has shape {cohort.array.shape}, expected that of the parameter, {parameter.shape}."
        raise DataError(msg)
    if cohort.count > len(rates):
        msg = f"cohort {cohort.count - 1} has no learning rate: {len(rates)} were given, for cohorts from 0."
        raise UsageError(msg)
    return rates
