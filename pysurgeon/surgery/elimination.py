r"""Which units of a width can go, and what the rest has to do for them.

Let G (n, n) be the Gram matrix of the units as their readers see them, and W the readers' weights. If the readers make up
for the units R that go as well as they can (ridge least squares on the kept ones K), the squared error of what they give
grows by `tr(W_R' (G_RR - G_RK G_KK^-1 G_KR) W_R)`, a Schur complement. One unit at a time this is Optimal Brain Surgeon
(Hassibi and Stork 1993) on units: with H = (G + ridge)^-1, removing unit r costs `|w_r|^2 / H_rr`, where w_r is its row *after*
the removals before it. So one elimination in O(n^3) gives the whole cost curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pysurgeon.graph import Array

# Relative to the mean of the Gram matrix's diagonal. Above what float32 activations leave undetermined (1e-14), and small enough
# that what is a copy or a combination of other units goes without a trace.
RIDGE = 1e-8


@dataclass(frozen=True)
class View:
    """A width as one reader sees it.

    Attributes:
        gram: Second moments of the units, float64 (n, n); about their mean if that is given.
        energy: Gram matrix of the reader's weights over its outputs, float64 (n, n).
        mean: Means of the units, float64 (n,), where the reader has a bias that takes up constants.
    """

    gram: Array
    energy: Array
    mean: Array | None = None

    @property
    def signal(self) -> float:
        """Mean square of what the reader makes of the units, `tr(G M)` with G about zero."""
        gram = self.gram if self.mean is None else self.gram + np.outer(self.mean, self.mean)
        return float(np.sum(gram * self.energy))


@dataclass(frozen=True)
class Elimination:
    """The order in which units go, cheapest first.

    Attributes:
        order: int64 (n,), all units.
        cost: float64 (n,); squared error, relative to the signal, once the units up to there are gone.
    """

    order: Array
    cost: Array

    def error(self, removed: int) -> float:
        """Root mean square error of the readers, relative to what they give, with this many units removed."""
        return float(np.sqrt(self.cost[removed - 1])) if removed else 0.0


def eliminate(views: Sequence[View], *, most: float = np.inf) -> Elimination:
    """Greedy elimination over all readers of a width, each weighed by its own signal.

    Args:
        views: The width as each of its readers sees it.
        most: Relative root mean square error beyond which nobody asks. Units that would come later have no order, and infinite
            costs.
    """
    from pysurgeon import kernels

    regular = [ridged(v.gram) for v in views]
    inverses = [np.linalg.inv(g) for g in regular]
    # What H_rr cannot fall below, whatever has gone before; rounding can.
    floors = [1.0 / np.diag(g) for g in regular]
    # A reader that gets nothing loses nothing.
    energies = [v.energy / v.signal if v.signal > 0 else np.zeros_like(v.energy) for v in views]
    return Elimination(*kernels.eliminate(inverses, energies, floors, most=most**2))


def compensation(gram: Array, kept: Array) -> Array:
    """How the kept units stand in for all of them.

    Args:
        gram: float64 (n, n).
        kept: int64 (m,), which units are kept.

    Returns:
        float32 (m, n): a reader's new weights for the kept units are this map of its old ones; the columns of kept units are
        those of the identity.
    """
    n = len(gram)
    regular = ridged(gram)
    gone = np.setdiff1d(np.arange(n), kept)
    matrix = np.zeros((len(kept), n))
    matrix[np.arange(len(kept)), kept] = 1.0
    if len(gone):
        matrix[:, gone] = np.linalg.solve(regular[np.ix_(kept, kept)], regular[np.ix_(kept, gone)])
    return matrix.astype(np.float32)


def loss(view: View, kept: Array, stand_in: Array) -> float:
    """Mean square error of a reader, relative to its signal, once the kept units stand in for all of them.

    Unlike the costs of an elimination it has no share of the ridge in it: what goes exactly costs nothing.

    Args:
        view: The width as the reader sees it.
        kept: int64 (m,), which units are kept.
        stand_in: What `compensation` returned for them.
    """
    missing = np.eye(len(view.gram))
    missing[:, kept] -= stand_in.T.astype(np.float64)
    return max(0.0, float(np.sum((missing @ view.gram @ missing.T) * view.energy))) / max(view.signal, 1e-300)


def ridged(gram: Array) -> Array:
    """A Gram matrix made invertible: a small multiple of its mean diagonal is added, more where all of it is zero."""
    level = float(np.trace(gram)) / len(gram)
    return np.asarray(gram + np.eye(len(gram)) * (RIDGE * level if level > 0 else 1.0))
