r"""Recommendations: operations ranked by what they should gain for what they cost.

Everything is put on one scale, accuracy. Let `h = 1 - accuracy` be the headroom.

- *Widening* n units to m: what the readers lose without the cheapest unit (the first Schur complement of the cost curve, c) is what
  one more unit can be worth at most. With returns that diminish like `(n/j)^2`, that makes `g = h used (1 - exp(-n c (1 - n/m)))`.
  Here `n c` lies between 0 (the cheapest unit is redundant) and 1 (all units are equally irreplaceable), and `used` is the share of
  the width that its activations fill by their BIC rank: one that has room already gains less.
- *Inserting* behind a layer gains where that layer's nonlinearity is used, `h (1 - R^2)`, R^2 being that of the layer's removal.
- A *bypass* gains where the layer's input explains more of what the model's outputs lack than what the layer gives does: `h s`, s being the
  share of the errors that it explains in addition, by least squares judged on unseen samples.
- *Narrowing*, *removing*, *factorizing* lose `accuracy * error^2`, the share of the readers' signal that is lost.

An operation that would take an earlier one of the lineage back is among them, if it costs little: a width at the size that it had.

From every gain its price is taken: `price` is the accuracy that one per cent more parameters and operations has to buy (so it is a
temperature with a meaning: BIC's `ln n / 2n` nats a parameter can never justify growth at these sizes). The constants that turn
shares into accuracy are prior guesses. A run corrects them by its own races (`experience`), and its report tells how often the
first-ranked branch was the best one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pysurgeon.diagnosis.diagnose import Diagnosis, LayerDiagnosis, WidthDiagnosis
from pysurgeon.errors import Refused
from pysurgeon.graph.costs import Costs, costs
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
from pysurgeon.surgery.narrow import LARGEST_ERROR

Objective = Literal["accuracy", "size", "latency"]

# The share of the headroom that widening a full width, or one more layer, is expected to gain at most.
_WIDEN_SHARE, _INSERT_SHARE = 0.5, 0.1
# Errors of the readers at which to propose making something smaller.
_ERRORS = (0.02, 0.1, LARGEST_ERROR)


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
    price: float = 2e-5,
    factors: tuple[float, ...] = (4.0, 2.0),
    experience: Mapping[str, float] | None = None,
    undo: Collection[str] = (),
    seed: int = 0,
) -> list[Recommendation]:
    """All operations worth considering, best first.

    Args:
        diagnosis: The model, looked at.
        calibration: For planning; the same batch as the diagnosis.
        accuracy: Validation accuracy of the model, 0..1.
        objective: `accuracy` proposes everything; `size` and `latency` only what makes the model smaller.
        price: Accuracy that one per cent more parameters and operations has to buy.
        experience: By kind of operation, how much of the expected gain was seen so far (1 where nothing is known).
        undo: Operations that would take back earlier ones, as written on the command line.
        factors: By how much widths are proposed to grow.
        seed: For what operations draw at random.
    """
    model = diagnosis.structure.model
    before = costs(model)
    ranked: list[Recommendation] = []
    for operation, size, gain, evidence in _proposals(diagnosis, accuracy, factors, undo, seed):
        try:
            after = costs(apply_edit(operation.outline(diagnosis.structure, calibration)))
        except Refused:
            continue
        if objective != "accuracy" and (after.parameters, after.macs) >= (before.parameters, before.macs):
            continue
        if gain > 0 and experience is not None:
            gain *= experience.get(operation.kind, 1.0)
        paid = price * 100 * growth(before, after)
        ranked.append(_recommendation(operation, size, gain, gain - paid, before, after, evidence))
    # Ties are broken by name, so that the order does not depend on how the graph was walked.
    return sorted(ranked, key=lambda r: (-r.score, str(r.operation)))


def _recommendation(
    operation: Operation,
    size: int | None,
    gain: float,
    score: float,
    before: Costs,
    after: Costs,
    evidence: dict[str, float],
) -> Recommendation:
    change = (after.parameters - before.parameters, after.macs - before.macs)
    return Recommendation(operation, size, gain, score, *change, evidence)


def growth(before: Costs, after: Costs) -> float:
    """Logarithm of how much larger a model is, the mean of parameters and operations; 0.01 is about one per cent."""
    parameters = np.log(max(1, after.parameters) / max(1, before.parameters))
    macs = np.log(max(1, after.macs) / max(1, before.macs))
    return float(parameters + macs) / 2


Proposal = tuple[Operation, int | None, float, dict[str, float]]


def _proposals(
    diagnosis: Diagnosis, accuracy: float, factors: tuple[float, ...], undo: Collection[str], seed: int
) -> Iterator[Proposal]:
    headroom = 1.0 - accuracy
    earlier = {o.width: o.size for text in undo if isinstance(o := parse(text), Narrow)}
    for width in diagnosis.widths:
        yield from _widenings(width, headroom, factors, seed)
        yield from _narrowings(width, accuracy, earlier.get(width.width.name))
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


def _narrowings(found: WidthDiagnosis, accuracy: float, earlier: int | None) -> Iterator[Proposal]:
    sizes = {found.width.size - found.removable(error) for error in _ERRORS}
    if earlier is not None and found.width.size - found.removable(LARGEST_ERROR) <= earlier:
        sizes.add(earlier)
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
    if found.linearity is not None:
        evidence = {"linearity": found.linearity}
        gain = _INSERT_SHARE * (1.0 - accuracy) * (1.0 - found.linearity)
        yield InsertLayer(name, seed=seed), None, gain, evidence
        yield RemoveLayer(name), None, -accuracy * (1.0 - found.linearity), evidence
    else:
        yield InsertLayer(name, seed=seed), None, _INSERT_SHARE * (1.0 - accuracy) * 0.5, {}
    if found.overlooked is not None:
        yield AddBypass(name), None, (1.0 - accuracy) * found.overlooked, {"overlooked": found.overlooked}
    for rank in sorted({found.rank_for(error) for error in _ERRORS}):
        if 1 <= rank <= found.largest_rank:
            error = found.error(rank)
            evidence = {"weight_rank": found.weight_rank, "stable_rank": found.stable_rank, "predicted_error": error}
            yield Factorize(name, rank), rank, -accuracy * error**2, evidence
