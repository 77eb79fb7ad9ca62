"""What to try next: where the candidates of a generation come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from pysurgeon.data import Dataset
from pysurgeon.diagnosis import Objective, Recommendation, Slopes, diagnose, recommend
from pysurgeon.errors import Refused
from pysurgeon.evolution.experience import experience
from pysurgeon.evolution.fitness import Fitness
from pysurgeon.evolution.genome import replay
from pysurgeon.evolution.population import Branch, Candidate, random_candidate, recommended
from pysurgeon.evolution.settings import EvolveSettings
from pysurgeon.graph import Model
from pysurgeon.graph.costs import Costs, costs
from pysurgeon.graph.widths import Structure
from pysurgeon.surgery import Calibration

Events = Sequence[dict[str, Any]]

# How many random operations are drawn for each that is wanted: some are drawn twice.
_DRAWS = 20


@dataclass(frozen=True)
class Grounds:
    """What proposals rest on.

    Attributes:
        settings: Of the run.
        start: The model as it was given.
        data: The data set.
        calibration: Samples to look at models with.
        fitness: For the limits.
        slopes: Tells how steep the loss is where models stand.
    """

    settings: EvolveSettings
    start: Model
    data: Dataset
    calibration: Calibration
    fitness: Fitness
    slopes: Slopes | None = None


class Propose(Protocol):
    """A way to propose."""

    def __call__(self, parents: Sequence[Branch], generation: int, events: Events, grounds: Grounds) -> list[Candidate]:
        """Operations on some of the parents.

        Args:
            parents: The branches that are carried on.
            generation: Counted from 0.
            events: The lineage so far.
            grounds: What proposals rest on.
        """


def by_recommendation(parents: Sequence[Branch], generation: int, events: Events, grounds: Grounds) -> list[Candidate]:
    """The best that diagnosis finds, and one random operation: if that wins, the recommendations were wanting.

    For a front, the most accurate parent is to become more accurate, and the parents in turn are to become smaller.
    """
    settings, rng = grounds.settings, _rng(grounds, generation)
    found: list[Candidate] = []
    for parent, purpose, count in _purposes(parents, generation, settings):
        structure = Structure(parent.model)
        candidates = recommended(
            recommendations(structure, parent, purpose, generation, events, grounds),
            structure,
            grounds.calibration,
            count=count,
            seed=int(rng.integers(2**31)),
            tried=_tried(parent, events),
        )
        found += [replace(c, parent=parent.id) for c in candidates]
    return found + _random(parents, settings.branches + 1 - len(found), grounds, rng, found)


def _purposes(
    parents: Sequence[Branch], generation: int, settings: EvolveSettings
) -> Iterator[tuple[Branch, Objective, int]]:
    """Whom to operate on, what for, and how many branches that is worth."""
    if settings.objective != "pareto":
        yield parents[0], settings.objective, settings.branches
        return
    smaller = settings.branches // 2
    yield parents[0], "accuracy", settings.branches - smaller
    yield parents[generation % len(parents)], "size", smaller


def by_chance(parents: Sequence[Branch], generation: int, events: Events, grounds: Grounds) -> list[Candidate]:  # noqa: ARG001
    """Random operations alone: the control."""
    return _random(parents, grounds.settings.branches + 1, grounds, _rng(grounds, generation), [])


def _rng(grounds: Grounds, generation: int) -> np.random.Generator:
    return np.random.default_rng([grounds.settings.seed, generation, 7])


def _random(
    parents: Sequence[Branch], count: int, grounds: Grounds, rng: np.random.Generator, others: Sequence[Candidate]
) -> list[Candidate]:
    """As many as there are possible ones that do nothing twice, nor what others do; small models may have fewer."""
    found: list[Candidate] = []
    taken = {(c.parent, c.operations) for c in others}
    structures = [Structure(p.model) for p in parents] if count > 0 else []
    for _ in range(_DRAWS * count):
        if len(found) == count:
            break
        k = int(rng.integers(len(parents))) if len(parents) > 1 else 0
        candidate = random_candidate(structures[k], grounds.calibration, grounds.settings, rng)
        if candidate is None:
            break
        if (parents[k].id, candidate.operations) not in taken:
            taken.add((parents[k].id, candidate.operations))
            found.append(replace(candidate, parent=parents[k].id))
    return found


def _tried(parent: Branch, events: Events) -> set[tuple[str, ...]]:
    """Operations of branches of this parent, which it has outlived."""
    return {
        tuple(record["operation"] for record in event["records"])
        for event in events
        if event["event"] == "branched" and event["parent"] == parent.id
    }


def _undo(parent: Branch, grounds: Grounds) -> list[str]:
    """What takes operations of a branch back."""
    try:
        return [text for text in replay(grounds.start, parent.genome, grounds.calibration).undo if text]
    except Refused:
        return []


def recommendations(
    structure: Structure, parent: Branch, purpose: Objective, generation: int, events: Events, grounds: Grounds
) -> list[Recommendation]:
    """What a parent might gain from, within the limits, best first.

    Args:
        structure: Of the parent.
        parent: To be operated on.
        purpose: What for.
        generation: Counted from 0.
        events: The lineage so far.
        grounds: What proposals rest on.
    """
    diagnosis = diagnose(structure, grounds.calibration, threads=grounds.settings.threads)
    ranking = recommend(
        diagnosis,
        grounds.calibration,
        accuracy=max(0.0, parent.accuracy),  # numbers may be predicted worse than by their mean
        objective=purpose,
        price=grounds.settings.price,
        experience=experience(events),
        undo=_undo(parent, grounds),
        seed=grounds.settings.seed + generation,
        slopes=grounds.slopes,
    )
    size = costs(parent.model)

    def after(r: Recommendation) -> Costs:
        return replace(size, parameters=size.parameters + r.parameters, macs=size.macs + r.macs)

    return [r for r in ranking if not grounds.fitness.allowed(after(r), 0.0)]
