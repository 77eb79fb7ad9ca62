r"""Recommendations: operations ranked by what they should gain for what they cost.

Everything is put on one scale, accuracy. Let `h = 1 - accuracy` be the headroom.

- *Widening* n units to m: what the readers lose without the cheapest unit (the first Schur complement of the cost curve, c) is what
  one more unit can be worth at most. With returns that diminish like `(n/j)^2`, that makes `g = h used (1 - exp(-n c (1 - n/m))) / 2`.
  Here `n c` lies between 0 (the cheapest unit is redundant) and 1 (all units are equally irreplaceable), and `used` is the share of
  the width that its activations fill by their BIC rank: one that has room already gains less.
- *New parameters*, those of widening, inserting, a bypass, or of the full matrix that takes a removed layer's place, change what can be learnt from
  here. To first order a step of AdamW lowers the loss by the learning rate times the L1 norm of the gradient. If that grows by the share s, the
  gain is `0.1 h ln(1 + s)`. New units are looked at in pairs that cancel: only then what writes them has a
  gradient at once.
  (Evci et al., *GradMax*, 2022, maximize such a norm by their choice of new weights; here it says where.) A layer whose units have died looks
  as if it needed none; by this it is found.
- *Narrowing*, *removing*, *factorizing* lose `accuracy * error^2`, the share of the readers' signal that is lost.

How good such a ranking is, `benchmarks/recommendations.py` measures: it trains every candidate of a generation.

From every gain its price is taken: `price` is the accuracy that one per cent more parameters and operations has to buy (so it is a
temperature with a meaning: BIC's `ln n / 2n` nats a parameter can never justify growth at these sizes). The constants that turn
shares into accuracy are prior guesses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from pysurgeon.diagnosis.diagnose import Diagnosis, LayerDiagnosis, WidthDiagnosis
from pysurgeon.errors import Refused
from pysurgeon.model import Model
from pysurgeon.model.costs import Costs, costs
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
)
from pysurgeon.surgery.methods.unit_init import in_pairs
from pysurgeon.surgery.operations.narrow import LARGEST_ERROR
from pysurgeon.widths.structure import Structure

Objective = Literal["accuracy", "size", "latency"]

# The share of the headroom that widening a full width is expected to gain at most, and that of a loss that is e times as steep.
_WIDEN_SHARE, _STEEPER_SHARE = 0.5, 0.1
# Operations whose gradients are looked at, and how many multiply-accumulate operations a sample that may take altogether.
_LOOKED_AT, _LARGEST_LOOK = 24, 1e10
# Errors of the readers at which to propose making something smaller.
_ERRORS = (0.02, 0.1, LARGEST_ERROR)


Slopes = Callable[[Sequence[Model]], Sequence[float | None]]
"""How steeply the loss falls from each of some models, the L1 norm of its gradient; `None` where that cannot be told."""


@dataclass(frozen=True)
class Recommendation:
    """An operation with what is expected of it.

    Attributes:
        operation: What to do.
        size: Units or rank afterwards, `None` for whole layers.
        expected_gain: Accuracy that it should gain (negative: lose) before its price.
        score: Expected gain less the price of its parameters; what the ranking is by.
        parameters: Change of the number of parameters.
        macs: Change of the multiply-accumulate operations a sample.
        evidence: The figures behind it.
    """

    operation: Operation
    size: int | None
    expected_gain: float
    score: float
    parameters: int
    macs: int
    evidence: dict[str, float]


def recommend(
    diagnosis: Diagnosis,
    calibration: Calibration,
    *,
    accuracy: float,
    objective: Objective = "accuracy",
    price: float = 1e-4,
    factors: tuple[float, ...] = (4.0, 2.0),
    slopes: Slopes | None = None,
    seed: int = 0,
) -> list[Recommendation]:
    """All operations worth considering, best first.

    Args:
        diagnosis: The model, looked at.
        calibration: For planning; the same batch as the diagnosis.
        accuracy: Validation accuracy of the model, 0..1.
        objective: `accuracy` proposes everything; `size` and `latency` only what makes the model smaller.
        price: Accuracy that one per cent more parameters and operations has to buy.
        factors: By how much widths are proposed to grow.
        slopes: Tells how steep the loss is; without it nobody knows what new layers and bypasses could learn.
        seed: For what operations draw at random.
    """
    before = costs(diagnosis.structure.model)
    found: list[Recommendation] = []
    for operation, size, gain, evidence in _proposals(diagnosis, accuracy, factors, seed):
        try:
            after = costs(apply_edit(operation.outline(diagnosis.structure, calibration)))
        except Refused:
            continue
        if objective != "accuracy" and (after.parameters, after.macs) >= (before.parameters, before.macs):
            continue
        paid = price * 100 * growth(before, after)
        change = (after.parameters - before.parameters, after.macs - before.macs)
        found.append(Recommendation(operation, size, gain, gain - paid, *change, evidence))
    # Ties are broken by name, so that the order does not depend on how the graph was walked.
    found.sort(key=_order)
    if slopes is not None and objective == "accuracy":
        steeper = _steeper(found, diagnosis.structure, calibration, slopes)
        share = _STEEPER_SHARE * (1.0 - accuracy)
        found = [
            r
            if (s := steeper.get(r.operation)) is None
            else replace(_gaining(r, share * float(np.log1p(s))), evidence=r.evidence | {"steeper": s})
            for r in found
        ]
    return sorted(found, key=_order)


def _order(r: Recommendation) -> tuple[float, str]:
    return -r.score, str(r.operation)


def _gaining(r: Recommendation, more: float) -> Recommendation:
    return replace(r, expected_gain=r.expected_gain + more, score=r.score + more)


def _steeper(
    ranked: Sequence[Recommendation], structure: Structure, calibration: Calibration, slopes: Slopes
) -> dict[Operation, float]:
    """By which share operations that bring new parameters make the loss steeper, as far as they are looked at."""
    growing = [r for r in ranked if isinstance(r.operation, Widen | InsertLayer | AddBypass | RemoveLayer)]
    sites: dict[tuple[str, str], list[Recommendation]] = {}
    for r in growing:
        sites.setdefault(_place(r.operation), []).append(r)
    # The largest at a site stands for the others there: each new unit makes the loss steeper by about the same.
    largest = [max(found, key=lambda r: r.size or 0) for found in sites.values()]
    work = at_present = costs(structure.model).macs
    models: dict[Operation, Model] = {}
    for r in _in_turn(largest):
        work += at_present + r.macs
        if work > _LARGEST_LOOK or len(models) == _LOOKED_AT:
            break
        edit = r.operation.plan(structure, calibration).edit
        if isinstance(r.operation, Widen) and any(m.history is not None for m in edit.maps):
            # In pairs, both what writes a new unit and what reads it has a gradient at once.
            edit = in_pairs(edit, structure.width(r.operation.width), np.random.default_rng(r.operation.seed))
        models[r.operation] = apply_edit(edit)
    if not models:
        return {}
    slope, *found = slopes([structure.model, *models.values()])
    each = {
        _place(operation): max(0.0, new / slope - 1.0) / _units(structure, operation)
        for operation, new in zip(models, found, strict=True)
        if slope and new is not None
    }
    return {
        r.operation: each[_place(r.operation)] * _units(structure, r.operation)
        for r in growing
        if _place(r.operation) in each
    }


def _place(operation: Operation) -> tuple[str, str]:
    return operation.kind, operation.site


def _in_turn(found: Sequence[Recommendation]) -> list[Recommendation]:
    """The first of every kind, the second of every kind, ..."""
    count: dict[str, int] = {}
    turns = []
    for r in found:
        turns.append((count.setdefault(r.operation.kind, 0), r))
        count[r.operation.kind] += 1
    return [r for _, r in sorted(turns, key=lambda turn: turn[0])]


def _units(structure: Structure, operation: Operation) -> int:
    """How many units a widening adds; 1 for other operations."""
    return operation.size - structure.width(operation.width).size if isinstance(operation, Widen) else 1


def growth(before: Costs, after: Costs) -> float:
    """Logarithm of how much larger a model is, the mean of parameters and operations; 0.01 is about one per cent."""
    parameters = np.log(max(1, after.parameters) / max(1, before.parameters))
    macs = np.log(max(1, after.macs) / max(1, before.macs))
    return float(parameters + macs) / 2


Proposal = tuple[Operation, int | None, float, dict[str, float]]


def _proposals(diagnosis: Diagnosis, accuracy: float, factors: tuple[float, ...], seed: int) -> Iterator[Proposal]:
    headroom = 1.0 - accuracy
    for width in diagnosis.widths:
        yield from _widenings(width, headroom, factors, seed)
        yield from _narrowings(width, accuracy)
    for layer in diagnosis.layers:
        yield from _of_layer(layer, accuracy, seed)


def _widenings(found: WidthDiagnosis, headroom: float, factors: tuple[float, ...], seed: int) -> Iterator[Proposal]:
    n = found.width.size
    used = min(1.0, (found.activation_rank + 1) / n)
    wanted = {max(n + 1, round(n * f)) for f in factors}
    if not found.width.exact:  # whole multiples keep the function, if anything does
        wanted = {m for m in wanted if m % n == 0 and found.width.averaged}
    for m in sorted(wanted, reverse=True):
        # The only unit of a group is irreplaceable by definition, which says nothing: what counts is its share of the layer.
        worth = min(1.0, n * found.elimination.error(1) ** 2) / (found.width.multiple if n == 1 else 1)
        gain = _WIDEN_SHARE * headroom * used * (1.0 - float(np.exp(-worth * (1.0 - n / m))))
        evidence = {
            "activation_rank": found.activation_rank,
            "effective_rank": found.effective_rank,
            "error_without_cheapest_unit": found.elimination.error(1),
        }
        yield Widen(found.width.name, m, seed=seed), m, gain, evidence


def _narrowings(found: WidthDiagnosis, accuracy: float) -> Iterator[Proposal]:
    sizes = {found.width.size - found.removable(error) for error in _ERRORS}
    for m in sorted(s for s in sizes if 1 <= s < found.width.size):
        error = found.elimination.error(found.width.size - m)
        evidence = {
            "activation_rank": found.activation_rank,
            "dead_units": found.dead,
            "predicted_error": error,
        }
        yield Narrow(found.width.name, m), m, -accuracy * error**2, evidence


def _of_layer(found: LayerDiagnosis, accuracy: float, seed: int) -> Iterator[Proposal]:
    name = found.layer.name
    # What new layers and bypasses could learn, only their gradients tell.
    yield InsertLayer(name, seed=seed), None, 0.0, {}
    yield AddBypass(name), None, 0.0, {}
    if found.linearity is not None:
        yield RemoveLayer(name), None, -accuracy * (1.0 - found.linearity), {"linearity": found.linearity}
    for rank in sorted({found.rank_for(error) for error in _ERRORS}):
        if 1 <= rank <= found.largest_rank:
            error = found.error(rank)
            evidence = {"weight_rank": found.weight_rank, "stable_rank": found.stable_rank, "predicted_error": error}
            yield Factorize(name, rank), rank, -accuracy * error**2, evidence
