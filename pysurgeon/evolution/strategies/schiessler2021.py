"""Schiessler, Aydin, Linka and Cyron's own schedule and score (Neural Networks 144, 2021), as their published code has them.

A round lists, for every live branch and hidden layer, the six operations below with a sort key; the first of each kind and one drawn
among the rest are tried for a batch (ten, where something was taken away), scored, and the best two trained on. Those that
do not fall below what was reached before are carried on, two at most; if there are none, the next two are tried, three times at most.

With n units of a layer, i its place among L layers and r the number of singular values of its weight below 0.3 or below 0.005 of the largest:

| kind | operation | key |
|---|---|---|
| units | `widen` by max(2, n/10), or by ten times as many | 1 - r/n |
| layer | `insert` | (1 - r/n) i/(L-1) |
| fewer units | `narrow` to n - r | r/n |
| split | `factorize` at rank n - r | r/n |
| no layer | `remove` | r/n i/(L-1) |

Different from their code, on purpose: the operations are ours (new units are no twins for ever, new layers are not linear, what is removed is
fitted), nothing is operated where r is 0, and a parent is not lost if nothing is good enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pysurgeon import kernels
from pysurgeon.errors import Refused
from pysurgeon.evolution.branch import Branch, Candidate, Origin
from pysurgeon.evolution.race import Arena
from pysurgeon.evolution.strategies.proposals import Context, Events
from pysurgeon.model.costs import costs
from pysurgeon.model.layers import Layer
from pysurgeon.surgery import (
    Factorize,
    InsertLayer,
    Narrow,
    Operation,
    RemoveLayer,
    Widen,
    apply_edit,
)
from pysurgeon.surgery.layers.weight_matrices import weight_matrix
from pysurgeon.widths.structure import Structure, Width

# Singular values that are taken for nothing: below this, or below this share of the largest.
SMALL, SMALL_SHARE = 0.3, 0.005
# Batches of a trial, where something was added and where something was taken away.
GROWN_TRIAL, SHRUNK_TRIAL = 1, 10
# Branches carried on, and how often the next ones get a chance where none was good enough.
CARRIED, RETRIES = 2, 3


@dataclass(frozen=True)
class _Listed:
    """An operation that could be tried."""

    kind: str
    key: float
    parent: str
    operation: Operation


def by_paper(parents: Sequence[Branch], generation: int, events: Events, context: Context) -> list[Candidate]:  # noqa: ARG001
    """The best operation of each kind over all parents by its key, and one of the others at random."""
    rng = np.random.default_rng([context.settings.seed, generation, 21])
    listed = [x for parent in parents for x in _listed(parent, context)]
    listed.sort(key=lambda x: (-x.key, x.parent, str(x.operation)))
    best: dict[str, _Listed] = {}
    for x in listed:
        best.setdefault(x.kind, x)
    rest = [x for x in listed if x is not best[x.kind]]
    drawn: list[tuple[Origin, _Listed]] = [("recommended", x) for x in best.values()]
    if rest:
        drawn.append(("random", rest[int(rng.integers(len(rest)))]))
    return [_candidate(origin, x, int(rng.integers(2**31))) for origin, x in drawn]


def _candidate(origin: Origin, listed: _Listed, seed: int) -> Candidate:
    text = str(listed.operation)
    return Candidate(origin, (text,), seed, evidence={text: {"sort_key": listed.key}}, parent=listed.parent)


def _listed(parent: Branch, context: Context) -> Iterator[_Listed]:
    structure = Structure(parent.model)
    hidden = [(layer, width) for layer in structure.layers if (width := _written(structure, layer)) is not None]
    for place, (layer, width) in enumerate(hidden, start=1):
        for x in _of_layer(parent.id, structure, layer, width, place / len(hidden)):
            try:
                after = costs(apply_edit(x.operation.outline(structure, context.calibration)))
            except Refused:
                continue
            if not context.fitness.allowed(after, 0.0) and not context.kept.forbids(
                structure, x.operation, context.calibration
            ):
                yield x


def _of_layer(parent: str, structure: Structure, layer: Layer, width: Width, place: float) -> Iterator[_Listed]:
    try:
        values = kernels.singular_values([weight_matrix(structure, layer).astype(np.float32)])[0]
    except Refused:
        return  # it has no matrix to speak of
    n = width.size
    r = min(n - 1, int(np.sum((values < SMALL) | (values < SMALL_SHARE * values[0]))))
    few = max(2, n // 10)
    yield _Listed("few", 1 - r / n, parent, Widen(width.name, n + few))
    yield _Listed("many", 1 - r / n, parent, Widen(width.name, n + 10 * few))
    yield _Listed("insert", (1 - r / n) * place, parent, InsertLayer(layer.name))
    if r > 0:
        yield _Listed("narrow", r / n, parent, Narrow(width.name, n - r))
        yield _Listed("factorize", r / n, parent, Factorize(layer.name, n - r))
        yield _Listed("remove", r / n * place, parent, RemoveLayer(layer.name))


def _written(structure: Structure, layer: Layer) -> Width | None:
    """The width that a layer writes, if it can be resized."""
    return next((w for w in structure.widths if w.resizable and any(t == layer.weight for t, _ in w.writers)), None)


@dataclass(frozen=True)
class Trial:
    """The race: a short trial of all, the rest of the steps for the best two.

    Attributes:
        carried: Most branches that are carried on.
    """

    carried: int = CARRIED

    def run(self, parents: Sequence[Branch], operated: Sequence[Branch], arena: Arena) -> list[Branch]:
        """See `Race`."""
        before = {p.id: p for p in parents}
        entrants = [*parents, *operated]
        origins = {b.id: before[b.id] if b.id in before else before[str(b.parent)] for b in entrants}
        tried = arena.train([(b, min(arena.end, arena.begin + trial(b, origins[b.id]))) for b in entrants])
        waiting = sorted(tried, key=lambda b: -score(b, origins[b.id]))
        ended: list[Branch] = []
        for _ in range(1 + RETRIES):
            ended += self._trained(waiting[: self.carried], arena)
            waiting = waiting[self.carried :]
            good = [b for b in ended if b.accuracy >= arena.reference]
            if good or not waiting:
                break
        if not good:
            ended += self._trained([p for p in waiting if p.id in before], arena)
            good = ended
        return sorted(good, key=lambda b: -b.accuracy)[: self.carried]

    def steps(self, begin: int, end: int, branches: int) -> int:
        """See `Race`."""
        rest = max(0, end - begin - GROWN_TRIAL)
        return min(GROWN_TRIAL, end - begin) * branches + min(self.carried, branches) * rest

    def _trained(self, branches: Sequence[Branch], arena: Arena) -> list[Branch]:
        return arena.train([(b, arena.end) for b in branches])


def trial(branch: Branch, origin: Branch) -> int:
    """Batches that a branch is tried for."""
    shrunk = costs(branch.model).parameters < costs(origin.model).parameters
    return SHRUNK_TRIAL if shrunk else GROWN_TRIAL


def score(branch: Branch, origin: Branch) -> float:
    """`a + exp(a - a_before) exp(-P / P_before)`, a being validation accuracies from 0 to 1 and P numbers of parameters."""
    growth = costs(branch.model).parameters / max(1, costs(origin.model).parameters)
    return branch.accuracy + math.exp(branch.accuracy - origin.accuracy) * math.exp(-growth)
