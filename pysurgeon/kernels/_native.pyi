"""The compiled module: the modules beside it say what the functions do. It converts no array."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float32]
CohortArray: TypeAlias = npt.NDArray[np.uint16]

def blas_configuration() -> str: ...
def blas_core_name() -> str: ...
def instructions() -> str: ...
def choose_instructions(name: str) -> bool: ...
def singular_values(matrices: Sequence[FloatArray], may_round: bool, threads: int) -> list[FloatArray]: ...
def truncated_svd(
    matrices: Sequence[FloatArray], ranks: Sequence[int], threads: int
) -> list[tuple[FloatArray, FloatArray, FloatArray]]: ...
def gather_blocks(source: FloatArray, index: npt.NDArray[np.int64], scale: FloatArray, threads: int) -> FloatArray: ...
def map_blocks(source: FloatArray, matrix: FloatArray, threads: int) -> FloatArray: ...
def eliminate(
    inverses: Sequence[npt.NDArray[np.float64]],
    energies: Sequence[npt.NDArray[np.float64]],
    floors: Sequence[npt.NDArray[np.float64]],
    first: Sequence[int],
    most: float,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]: ...
def adamw_step(
    parameter: FloatArray,
    gradient: FloatArray,
    m: FloatArray,
    v: FloatArray,
    *,
    learning_rates: Sequence[float],
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    steps: Sequence[int],
    cohort: CohortArray | None,
    gradient_scale: float,
) -> None: ...
def sgd_step(
    parameter: FloatArray,
    gradient: FloatArray,
    momentum_buffer: FloatArray | None,
    *,
    learning_rates: Sequence[float],
    momentum: float,
    weight_decay: float,
    nesterov: bool,
    cohort: CohortArray | None,
    gradient_scale: float,
) -> None: ...
def sum_of_squares(array: FloatArray) -> float: ...
