"""Branches and where they come from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from pysurgeon.errors import Refused
from pysurgeon.evolution.keep import Kept
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

Origin = Literal["start", "doubled", "cut", "uniform", "recommended", "random", "alone"]


@dataclass(frozen=True)
class Candidate:
    """Operations that a branch is to try.

    Attributes:
        origin: `doubled` (all widths), `cut` (all widths, by their curves), `uniform` (all widths by the same share: the control of
            cuts), `recommended` (one operation of the diagnosis), or `random`.
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


def random_candidate(
    structure: Structure, calibration: Calibration, settings: EvolveSettings, rng: np.random.Generator, kept: Kept
) -> Candidate | None:
    """A random operation at a random site that is possible there; `None` if a hundred draws find none."""
    sites = [w.name for w in structure.widths if w.resizable], [x.name for x in structure.layers]
    seed = int(rng.integers(2**31))
    for _ in range(100):
        operation = _draw(structure, sites, rng, seed, may_grow=settings.may_grow)
        if operation is None or kept.forbids(structure, operation, calibration):
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
