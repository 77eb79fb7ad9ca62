"""What to try next: where the candidates of a generation come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from pysurgeon.data import Dataset
from pysurgeon.diagnosis import Objective as Purpose
from pysurgeon.diagnosis import Recommendation, Slopes, diagnose, recommend
from pysurgeon.evolution.branch import Branch, Candidate
from pysurgeon.evolution.fitness import Fitness
from pysurgeon.evolution.keep import Kept
from pysurgeon.evolution.strategies.random_operations import random_candidate
from pysurgeon.model import Model
from pysurgeon.settings import EvolveSettings
from pysurgeon.surgery import Calibration
from pysurgeon.widths.structure import Structure

Events = Sequence[dict[str, Any]]

# How many random operations are drawn for each that is wanted: some are drawn twice.
_DRAWS = 20


@dataclass(frozen=True)
class Context:
    """What proposals rest on.

    Attributes:
        settings: Of the run.
        start: The model as it was given.
        data: The data set.
        calibration: Samples to look at models with.
        fitness: For the limits.
        kept: What no operation may touch.
        slopes: Tells how steep the loss is where models stand.
    """

    settings: EvolveSettings
    start: Model
    data: Dataset
    calibration: Calibration
    fitness: Fitness
    kept: Kept
    slopes: Slopes | None = None


class Propose(Protocol):
    """A way to propose."""

    def __call__(self, parents: Sequence[Branch], generation: int, events: Events, context: Context) -> list[Candidate]:
        """Operations on some of the parents.

        Args:
            parents: The branches that are carried on.
            generation: Counted from 0.
            events: The lineage so far.
            context: What proposals rest on.
        """


def by_chance(parents: Sequence[Branch], generation: int, events: Events, context: Context) -> list[Candidate]:  # noqa: ARG001
    """Random operations alone: the control. As many as there are that differ; small models may have fewer."""
    count, rng = context.settings.branches + 1, np.random.default_rng([context.settings.seed, generation, 7])
    found: list[Candidate] = []
    taken: set[tuple[str, tuple[str, ...]]] = set()
    structures = [Structure(p.model) for p in parents]
    for _ in range(_DRAWS * count):
        if len(found) == count:
            break
        k = int(rng.integers(len(parents))) if len(parents) > 1 else 0
        candidate = random_candidate(structures[k], context.calibration, context.settings, rng, context.kept)
        if candidate is None:
            break
        if (parents[k].id, candidate.operations) not in taken:
            taken.add((parents[k].id, candidate.operations))
            found.append(replace(candidate, parent=parents[k].id))
    return found


def recommendations(
    structure: Structure, parent: Branch, purpose: Purpose, seed: int, context: Context
) -> list[Recommendation]:
    """What a parent might gain from, best first.

    Args:
        structure: Of the parent.
        parent: To be operated on.
        purpose: What for.
        seed: For what the operations draw at random.
        context: What proposals rest on.
    """
    ranking = recommend(
        diagnose(structure, context.calibration, threads=context.settings.threads),
        context.calibration,
        accuracy=max(0.0, parent.accuracy),  # numbers may be predicted worse than by their mean
        objective=purpose,
        price=context.settings.price,
        seed=seed,
        slopes=context.slopes,
    )
    return [r for r in ranking if not context.kept.forbids(structure, r.operation, context.calibration)]
