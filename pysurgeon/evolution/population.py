"""Branches and where they come from."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from pysurgeon.diagnosis import Recommendation
from pysurgeon.errors import Refused
from pysurgeon.evolution.settings import EvolveSettings
from pysurgeon.graph import Model
from pysurgeon.graph.costs import costs
from pysurgeon.graph.widths import Structure
from pysurgeon.surgery import (
    AddBypass,
    Calibration,
    Factorize,
    InsertLayer,
    Narrow,
    Operation,
    RemoveLayer,
    Widen,
    apply_edit,
    parse,
)
from pysurgeon.surgery.factorize import largest_rank
from pysurgeon.surgery.matrices import form_of
from pysurgeon.training import State

# Most operations that one branch does at once.
JOINED = 4
# Most that it may multiply the model's parameters and operations a sample by, so that a race stays affordable.
GROWTH = 10

Origin = Literal["start", "recommended", "joined", "random", "alone"]


@dataclass(frozen=True)
class Candidate:
    """Operations that a branch is to try.

    Attributes:
        origin: `recommended` (one operation of the diagnosis), `joined` (several, on different sites), or `random`.
        operations: As written on the command line, in order.
        seed: For what they draw at random.
        expected_gain: Of the recommendations, 0 for random ones.
        evidence: The figures behind it by operation.
        parent: The branch to operate on.
    """

    origin: Origin
    operations: tuple[str, ...]
    seed: int
    expected_gain: float = 0.0
    evidence: dict[str, dict[str, float]] = field(default_factory=dict)
    parent: str = "start"

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "origin": self.origin,
            "operations": list(self.operations),
            "seed": self.seed,
            "expected_gain": self.expected_gain,
            "evidence": self.evidence,
            "parent": self.parent,
        }

    @staticmethod
    def from_json(data: dict[str, Any]) -> Candidate:
        """From plain data."""
        return Candidate(**{**data, "operations": tuple(data["operations"])})

    def parsed(self) -> list[Operation]:
        """The operations."""
        return [parse(text, seed=self.seed + k) for k, text in enumerate(self.operations)]


@dataclass(frozen=True, eq=False)
class Branch:
    """A network on its way.

    Attributes:
        id: Unique in the run.
        parent: Id of the branch that it was operated from, `None` for the start.
        origin: Where it comes from.
        genome: Operations since the start.
        model: The network as it stands.
        state: Where the optimizer stands.
        accuracy: On the validation part, last measured.
        loss: On the validation part, last measured.
        latency: Milliseconds for one sample on one thread, 0 where nobody asked.
    """

    id: str
    parent: str | None
    origin: Origin
    genome: tuple[str, ...]
    model: Model
    state: State
    accuracy: float = 0.0
    loss: float = float("inf")
    latency: float = 0.0

    def with_model(self, model: Model, state: State) -> Branch:
        """The branch after its model changed."""
        return replace(self, model=model, state=state)


def recommended(
    recommendations: Sequence[Recommendation],
    structure: Structure,
    calibration: Calibration,
    *,
    count: int,
    seed: int,
    tried: Collection[tuple[str, ...]] = (),
) -> list[Candidate]:
    """The best operations on different sites, and all those that should help together as one.

    Joining is crossover before the fact: operations that touch different sites do not depend on one another.

    Args:
        recommendations: Best first.
        structure: Of the trunk.
        calibration: For planning.
        count: Candidates wanted.
        seed: For what the operations draw at random.
        tried: Operations of branches that this very trunk has beaten before.
    """
    sites: dict[tuple[bool, str], Recommendation] = {}
    for r in recommendations:
        if (str(r.operation),) not in tried:
            # A layer and the width that it writes have one name, but what is done to them does not collide.
            resizes = isinstance(r.operation, Widen | Narrow)
            sites.setdefault((resizes, r.operation.site), r)
    best = list(sites.values())
    helpful = _affordable([r for r in best if r.score > 0], structure.model, calibration) if count > 1 else []
    if tuple(str(r.operation) for r in helpful) in tried:
        helpful = []
    candidates = []
    if len(helpful) > 1:
        candidates.append(
            Candidate(
                "joined",
                tuple(str(r.operation) for r in helpful),
                seed,
                sum(r.expected_gain for r in helpful),
                {str(r.operation): r.evidence for r in helpful},
            )
        )
    for k, r in enumerate(best[: count - len(candidates)]):
        text = str(r.operation)
        candidates.append(Candidate("recommended", (text,), seed + 100 * (k + 1), r.expected_gain, {text: r.evidence}))
    return candidates


def _affordable(helpful: list[Recommendation], model: Model, calibration: Calibration) -> list[Recommendation]:
    """The first operations that can be done one after the other without the model growing too much at once."""
    before = costs(model)
    taken: list[Recommendation] = []
    for r in helpful:
        if len(taken) == JOINED:
            break
        try:
            grown = apply_edit(r.operation.outline(Structure(model), calibration))
        except Refused:
            continue
        after = costs(grown)
        if after.macs <= before.macs * GROWTH and after.parameters <= before.parameters * GROWTH:
            taken.append(r)
            model = grown
    return taken


def random_candidate(
    structure: Structure, calibration: Calibration, settings: EvolveSettings, rng: np.random.Generator
) -> Candidate | None:
    """A random operation at a random site that is possible there; `None` if a hundred draws find none."""
    sites = [w.name for w in structure.widths if w.resizable], [x.name for x in structure.layers]
    seed = int(rng.integers(2**31))
    for _ in range(100):
        operation = _draw(structure, sites, rng, seed, may_grow=settings.may_grow)
        if operation is None:
            continue
        try:
            after = costs(apply_edit(operation.outline(structure, calibration)))
        except Refused:
            continue
        before = costs(structure.model)
        smaller = (after.parameters, after.macs) < (before.parameters, before.macs)
        if settings.may_grow or smaller:
            return Candidate("random", (str(operation),), seed)
    return None


def _draw(
    structure: Structure,
    sites: tuple[list[str], list[str]],
    rng: np.random.Generator,
    seed: int,
    *,
    may_grow: bool,
) -> Operation | None:
    widths, layers = sites
    grow = ["widen", "insert", "bypass"] if may_grow else []
    kind = str(rng.choice([*grow, "narrow", "remove", "factorize"]))
    if kind in ("widen", "narrow"):
        if not widths:
            return None
        width = structure.width(str(rng.choice(widths)))
        factor = float(rng.choice([1.25, 1.5, 2.0]))
        if kind == "widen":
            return Widen(width.name, max(width.size + 1, round(width.size * factor)), seed=seed)
        size = min(width.size - 1, round(width.size / factor))
        return Narrow(width.name, size) if size >= 1 else None
    if not layers:
        return None
    layer = structure.layer(str(rng.choice(layers)))
    if kind == "insert":
        return InsertLayer(layer.name, seed=seed)
    if kind == "bypass":
        return AddBypass(layer.name)
    if kind == "remove":
        return RemoveLayer(layer.name)
    try:
        form = form_of(structure, layer)
    except Refused:
        return None
    largest = largest_rank((form.rows, form.columns))
    return Factorize(layer.name, int(rng.integers(1, largest + 1))) if largest >= 1 else None
