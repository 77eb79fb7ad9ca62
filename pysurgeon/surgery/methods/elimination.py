r"""Which units of a width can go, and what the rest has to do for them.

Let G (n, n) be the Gram matrix of the units as their readers see them, and W the readers' weights. If the readers make up
for the units R that go as well as they can (ridge least squares on the kept ones K), the squared error of what they give
grows by `tr(W_R' (G_RR - G_RK G_KK^-1 G_KR) W_R)`, a Schur complement. One unit at a time this is Optimal Brain Surgeon
(Hassibi and Stork 1993) on units: with H = (G + ridge)^-1, removing unit r costs `|w_r|^2 / H_rr`, where w_r is its row *after*
the removals before it. So one elimination in O(n^3) gives the whole cost curve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pysurgeon.graph import Array

# Relative to the mean of the Gram matrix's diagonal. Above what float32 activations leave undetermined (1e-14), and small enough
# that what is a copy or a combination of other units goes without a trace.
RIDGE = 1e-8
# What the squares of two float32 units that are multiples of one another can differ by.
_ROUNDING = 1e-11
# Samples for each unit below which a Gram matrix is shrunk.
FEW = 10


@dataclass(frozen=True)
class View:
    """A width as one reader sees it.

    Attributes:
        gram: Second moments of the units, float64 (n, n); about their mean if that is given.
        energy: Gram matrix of the reader's weights over its outputs, float64 (n, n).
        mean: Means of the units, float64 (n,), where the reader has a bias that takes up constants.
        samples: How many the Gram matrix was estimated from, `None` if it is not to be doubted.
    """

    gram: Array
    energy: Array
    mean: Array | None = None
    samples: int | None = None

    @property
    def signal(self) -> float:
        """Mean square of what the reader makes of the units, `tr(G M)` with G about zero."""
        return float(np.sum(self.whole * self.energy))

    @property
    def whole(self) -> Array:
        """Second moments about zero, float64 (n, n)."""
        return self.gram if self.mean is None else self.gram + np.outer(self.mean, self.mean)


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


def eliminate(views: Sequence[View], *, twins: Mapping[int, int] | None = None, most: float = np.inf) -> Elimination:
    """Greedy elimination over all readers of a width, each weighed by its own signal.

    Args:
        views: The width as each of its readers sees it.
        twins: Units that are copies of later ones, and of which.
        most: Relative root mean square error beyond which nobody asks. Units that would come later have no order, and infinite
            costs.
    """
    from pysurgeon import kernels

    regular = [ridged(v.gram, v.samples) for v in views]
    inverses = [np.linalg.inv(g) for g in regular]
    # What H_rr cannot fall below, whatever has gone before; rounding can.
    floors = [1.0 / np.diag(g) for g in regular]
    # A reader that gets nothing loses nothing.
    energies = [v.energy / v.signal if v.signal > 0 else np.zeros_like(v.energy) for v in views]
    first = _copies(views, twins or {})
    return Elimination(*kernels.eliminate(inverses, energies, floors, first=first, most=most**2))


def _copies(views: Sequence[View], twins: Mapping[int, int]) -> list[int]:
    """Units that cost nothing, however few the samples, the safest first.

    Those that nobody reads, by themselves or together with their copies, and copies go on any input; then come multiples of later
    units and those that do nothing, as far as the samples tell.
    """
    n = len(views[0].gram)
    last = np.arange(n)  # the copy of a unit that comes last
    for r in sorted(twins, reverse=True):
        last[r] = last[twins[r]]
    alike = np.equal.outer(last, last).astype(float)
    unread, multiple, idle = np.ones(n, dtype=bool), np.ones((n, n), dtype=bool), np.ones(n, dtype=bool)
    for view in views:
        little = _ROUNDING * float(np.trace(view.energy)) / n
        together = ((alike @ view.energy) * alike).sum(1)
        unread &= np.minimum(np.diag(view.energy), together) <= little
        multiple &= _multiples(view.whole)
        silent = np.diag(view.gram) <= _ROUNDING * np.diag(view.whole)
        idle &= silent | (np.diag(view.energy) <= little)
    again = np.array([multiple[r, r + 1 :].any() for r in range(n)])
    kinds = (np.flatnonzero(unread), list(twins), np.flatnonzero(again), np.flatnonzero(idle))
    return list(dict.fromkeys(int(r) for kind in kinds for r in kind))


def _multiples(gram: Array) -> Array:
    """Which units are multiples of which, bool (n, n)."""
    both = np.outer(np.diag(gram), np.diag(gram))
    return np.asarray((both - np.square(gram) <= _ROUNDING * both) & (both > 0))


def stand_ins(view: View, kept: Array, twins: Mapping[int, int] | None = None) -> Array:
    """What kept units stand for without any fit: themselves, their copies, and those that are multiples of them.

    Args:
        view: The width as the reader sees it.
        kept: int64 (m,), which units are kept.
        twins: Units that are copies of later ones, and of which.

    Returns:
        float64 (m, n).
    """
    gram = view.whole
    prior = np.eye(len(gram))[kept]
    multiple = _multiples(gram)[kept]
    place = {int(k): j for j, k in enumerate(kept)}
    for r in np.setdiff1d(np.arange(len(gram)), kept):
        twin = int(r)
        while twins is not None and twin in twins and twin not in place:
            twin = twins[twin]
        if twin in place:
            prior[place[twin], r] = 1.0
        elif multiple[:, r].any():
            j = int(np.argmax(multiple[:, r]))
            prior[j, r] = gram[kept[j], r] / gram[kept[j], kept[j]]
    return prior


def loss(view: View, kept: Array) -> float:
    """Mean square error of a reader, relative to its signal, once only some units are kept and nothing makes up for the others.

    Args:
        view: The width as the reader sees it.
        kept: int64 (m,), which units are kept.
    """
    gone = np.setdiff1d(np.arange(len(view.gram)), kept)
    missing = (view.gram * view.energy)[np.ix_(gone, gone)]
    return max(0.0, float(np.sum(missing))) / max(view.signal, 1e-300)


def ridged(gram: Array, samples: int | None = None) -> Array:
    """A Gram matrix made invertible: a small multiple of its mean diagonal is added, more where all of it is zero.

    Where it was estimated from few samples, it is as uncertain as it is singular, and shrunk towards a multiple of the identity as
    far as its own variance asks for (Ledoit and Wolf 2004, with the fourth moments of a normal distribution).
    """
    n = len(gram)
    level = float(np.trace(gram)) / n
    if level <= 0:
        return np.asarray(gram + np.eye(n))
    ridge = RIDGE
    if samples is not None and samples < FEW * n:
        power = float(np.square(gram).sum())
        spread = power - n * level**2
        share = min(1.0, ((n * level) ** 2 + power) / (max(1, samples) * spread)) if spread > 0 else 1.0
        ridge = max(ridge, share / (1 - share)) if share < 1 else 1.0
    return np.asarray(gram + np.eye(n) * (ridge * level))
