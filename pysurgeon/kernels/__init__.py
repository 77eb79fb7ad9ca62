"""Array kernels in C++. They know arrays and no models.

Singular values and factors, elimination of units, edits of one axis, optimizer steps.

Every function has a twin of the same signature in ``pysurgeon.kernels.reference``, written in NumPy for clarity.
"""

from __future__ import annotations

from pysurgeon.kernels._library import load_native

load_native()  # Before the modules that import names of the compiled one.

from pysurgeon.kernels._arguments import CohortIndex, Factors
from pysurgeon.kernels._blocks import gather_blocks, map_blocks
from pysurgeon.kernels._elimination import eliminate
from pysurgeon.kernels._optimizer import adamw_step, sgd_step, sum_of_squares
from pysurgeon.kernels._svd import singular_values, truncated_svd

__all__ = [
    "CohortIndex",
    "Factors",
    "adamw_step",
    "eliminate",
    "gather_blocks",
    "map_blocks",
    "sgd_step",
    "singular_values",
    "sum_of_squares",
    "truncated_svd",
]
