"""What the Surgeon tries by itself: doubled widths, further layers, and cuts of all widths at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from pysurgeon.diagnosis import Objective as Purpose
from pysurgeon.diagnosis import Recommendation, growth
from pysurgeon.diagnosis import cut as planning
from pysurgeon.errors import Refused
from pysurgeon.evolution.branch import Branch, Candidate, Origin
from pysurgeon.evolution.fitness import knows
from pysurgeon.evolution.strategies.proposals import Context, Events, recommendations
from pysurgeon.model.costs import Costs, costs
from pysurgeon.surgery import AddBypass, Factorize, InsertLayer, Operation, RemoveLayer, Widen, apply_edit
from pysurgeon.widths.structure import Structure

# Most doublings of all widths.
DOUBLINGS = 3
# By how much a network may grow on the way, in parameters and operations, so that a run stays affordable.
_LARGEST = 32
# Cuts that race: to a half and a quarter of what the parent costs.
LEVELS = 2


def by_doubling(parents: Sequence[Branch], generation: int, events: Events, context: Context) -> list[Candidate]:
    """All widths doubled, for each parent; nothing once a doubling has lost, or a network would be too large to train."""
    if generation and _lost(generation - 1, events):
        return []
    found = []
    for parent in parents:
        structure = Structure(parent.model)
        doubled = [
            Widen(w.name, 2 * w.size)
            for w in structure.widths
            if w.resizable and (w.exact or w.averaged) and not context.kept.width(structure, w)
        ]
        texts = tuple(str(x) for x in doubled)
        if texts and _growth(structure, doubled, context) <= math.log(_LARGEST):
            found.append(Candidate("doubled", texts, _seed(context, generation), parent=parent.id))
    return found


def _growth(structure: Structure, doubled: Sequence[Widen], context: Context) -> float:
    """How much larger than the start a model would be: the logarithm, of parameters or of operations, whichever grows more; infinite if refused."""
    model, start = structure.model, context.fitness.start
    try:
        for operation in doubled:
            model = apply_edit(operation.outline(Structure(model), context.calibration))
    except Refused:
        return math.inf
    after = costs(model)
    shares = (after.parameters / max(1, start.parameters), after.macs / max(1, start.macs))
    return math.log(max(*shares, 1.0))


def _lost(generation: int, events: Events) -> bool:
    """Whether a generation was won by a parent."""
    selected = next(e for e in events if e["event"] == "selected" and e["generation"] == generation)
    candidates = next(e for e in events if e["event"] == "candidates" and e["generation"] == generation)
    return selected["winner"] in candidates["parents"]


def by_depth(parents: Sequence[Branch], generation: int, events: Events, context: Context) -> list[Candidate]:  # noqa: ARG001
    """The layers and bypasses whose gradients promise most, each alone; none that more than doubles the costs."""
    parent = parents[0]
    structure, now = Structure(parent.model), costs(parent.model)
    ranking = recommendations(structure, parent, "accuracy", _seed(context, generation), context)
    worth = [r for r in ranking if r.score > 0 and r.macs <= now.macs and r.parameters <= now.parameters]
    return _first(worth, (InsertLayer, AddBypass), parent, generation, context)


def _first(
    ranking: Sequence[Recommendation],
    kinds: tuple[type[Operation], ...],
    parent: Branch,
    generation: int,
    context: Context,
) -> list[Candidate]:
    """The first recommendations of some kinds on different sites, each alone."""
    found: dict[str, Candidate] = {}
    seed = _seed(context, generation)
    for r in ranking:
        if isinstance(r.operation, kinds) and len(found) < context.settings.branches:
            text = str(r.operation)
            candidate = Candidate("recommended", (text,), seed, r.expected_gain, {text: r.evidence}, parent.id)
            found.setdefault(r.operation.site, candidate)
    return list(found.values())


def by_cut(parents: Sequence[Branch], generation: int, events: Events, context: Context) -> list[Candidate]:  # noqa: ARG001
    """All widths cut at once, under one price, to some levels of cost; and a uniform cut to the middle one as the control.

    Where nothing may grow, also layers that can go or be factorized, each alone.
    """
    found: dict[tuple[str, tuple[str, ...]], Candidate] = {}
    for parent in parents:
        if not knows(parent, context.fitness) and _excess(context)(costs(parent.model)) <= 0:
            continue  # what a network that has learnt nothing can do without, says nothing
        structure = Structure(parent.model)
        curves = planning.curves(structure, context.calibration, kept=partial(context.kept.width, structure))
        if not curves:
            continue
        planned = [(goal, plan) for goal in _goals(structure, context) if (plan := _planned(structure, curves, goal))]
        made: list[tuple[Origin, planning.Cut]] = [("cut", plan) for _, plan in planned]
        if planned:
            made.append(("uniform", planning.uniform(structure, curves, *planned[len(planned) // 2][0])))
        for origin, plan in made:
            candidate = _cut(origin, plan, structure, parent, _seed(context, generation))
            if candidate.operations:
                found.setdefault((candidate.parent, candidate.operations), candidate)
        if not context.settings.may_grow:
            purpose: Purpose = "latency" if context.settings.objective == "latency" else "size"
            ranking = recommendations(structure, parent, purpose, _seed(context, generation), context)
            for candidate in _first(ranking, (RemoveLayer, Factorize), parent, generation, context):
                found.setdefault((parent.id, candidate.operations), candidate)
    return list(found.values())


Goal = tuple[planning.Measure, float]
"""A measure of costs, and what it may be."""


def _planned(structure: Structure, curves: Sequence[planning.Curve], goal: Goal) -> planning.Cut | None:
    try:
        return planning.cut(structure, curves, *goal)
    except Refused:
        return None


def _goals(structure: Structure, context: Context) -> list[Goal]:
    """What networks that are cut may cost: levels below the parent, but none that breaks a limit; the limit itself in their place."""
    measure, excess = _measure(context), _excess(context)
    now = costs(structure.model)
    levels = [measure(now) - halvings * math.log(2) for halvings in range(1, LEVELS + 1)]
    beyond = excess(now)
    if beyond <= 0:
        return [(measure, level) for level in levels]
    # Halvings of what is limited take about as much from what is measured: those that cannot be enough are left out.
    return [(excess, 0.0), *((excess, -halvings * math.log(2)) for halvings in range(1, LEVELS))]


def _measure(context: Context) -> planning.Measure:
    """What cuts are to save: parameters for `size`, operations for `latency`, else both; logarithms, relative to the start."""
    objective, start = context.settings.objective, context.fitness.start
    if objective == "size":
        return lambda size: math.log(max(1, size.parameters) / max(1, start.parameters))
    if objective == "latency":
        return lambda size: math.log(max(1, size.macs) / max(1, start.macs))
    return lambda size: growth(start, size)


def _excess(context: Context) -> planning.Measure:
    """By how much limits are broken: the largest logarithm; below 0 where there is room."""
    parameters, macs = context.settings.max_params, context.settings.max_macs

    def beyond(size: Costs) -> float:
        found = [
            math.log(max(1, value) / max(1, limit))
            for value, limit in ((size.parameters, parameters), (size.macs, macs))
            if limit is not None
        ]
        return max(found, default=-math.inf)

    return beyond


def _cut(origin: Origin, plan: planning.Cut, structure: Structure, parent: Branch, seed: int) -> Candidate:
    evidence = {
        str(o): {"predicted_error": plan.errors[o.width], "of_the_cut": plan.error} for o in plan.operations(structure)
    }
    return Candidate(origin, tuple(evidence), seed, 0.0, evidence, parent.id)


def _seed(context: Context, generation: int) -> int:
    return int(np.random.default_rng([context.settings.seed, generation, 7]).integers(2**31))
