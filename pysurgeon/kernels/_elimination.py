"""Greedy elimination of units on the Schur complements of their Gram matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pysurgeon.kernels import _native
from pysurgeon.kernels._arguments import DoubleArray, IndexArray, as_first, as_readers


def eliminate(
    inverses: Sequence[npt.ArrayLike],
    energies: Sequence[npt.ArrayLike],
    floors: Sequence[npt.ArrayLike],
    *,
    first: Sequence[int] = (),
    most: float = np.inf,
) -> tuple[IndexArray, DoubleArray]:
    """Takes out the unit that costs all readers together least, again and again, and gives the whole cost curve.

    With H the inverse of a reader's Gram matrix of the units and M the Gram matrix of its weights, unit r costs
    ``M_rr / H_rr``; then H and M become those of the units that are left.

    Args:
        inverses: For each reader H, float64 ``(n, n)``, symmetric. Not modified.
        energies: For each reader M, float64 ``(n, n)``, symmetric. Not modified.
        floors: For each reader float64 ``(n,)``: what the diagonal of H cannot fall below but by rounding.
        first: Units that go before all others, in this order and for nothing.
        most: Cost beyond which nobody asks. Units that would come later have no order, and infinite costs.

    Returns:
        All units, cheapest first, and for each the mean cost over the readers once it and those before it are gone.

    Raises:
        DataError: There is no reader, the shapes do not fit together, or what goes first are not units, each once.
    """
    readers = as_readers(inverses, energies, floors)
    return _native.eliminate(*readers, as_first(first, len(readers[0][0])), float(most))
