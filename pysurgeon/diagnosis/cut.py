"""Cuts: all widths narrowed at once, each to where its next unit would cost the outputs more than it saves.

The cost curve of a width says what its readers lose as its units go (`cost_curve`). Narrowing the width once, alone, says how much of that
arrives at the outputs. So the curves of all widths are in one currency, the squared error of the outputs, and one price joins them: at a
price p, every width takes the size that minimizes `error(size) - p saved(size)`. No unit stays that costs less than another one that goes
(a Lagrangian relaxation; Everett, Operations Research 11, 1963). Bisection finds the price at which the network costs what it may.

What a unit saves depends on the sizes of the widths beside it. Savings are taken at the start, and again half the way down.

A curve tells what units are worth now, not what they would be worth after further training, and the further down the less. So no width falls
below half of what it would have if all were cut by the same share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pysurgeon.errors import Refused
from pysurgeon.graph import Array
from pysurgeon.model import Model
from pysurgeon.model.costs import Costs, costs
from pysurgeon.surgery import Calibration, Narrow, apply_edit
from pysurgeon.surgery.edits.edit import Edit
from pysurgeon.surgery.operations.narrow import cost_curve, selection
from pysurgeon.widths.structure import Structure, Width

Measure = Callable[[Costs], float]
"""What is to be saved, as one number."""

# Rounds of savings, and steps of the bisection on a logarithmic scale of prices.
_ROUNDS, _STEPS = 3, 50
_LOWEST, _HIGHEST = 1e-12, 1e12
# By how much a width may fall below what a uniform cut leaves of it.
TRUST = 2.0
# Squared error of the readers about which a width is tried alone: what is cut in earnest lies around it.
_PROBE = 0.03


@dataclass(frozen=True)
class Curve:
    """What a width costs the outputs at every size.

    Attributes:
        width: The width.
        error: Squared error of the outputs relative to their variance, at the sizes from 1 to n: float64 (n,), not rising.
    """

    width: Width
    error: Array


@dataclass(frozen=True)
class Cut:
    """Sizes for all widths at once.

    Attributes:
        sizes: By width, those that become narrower.
        error: Relative root mean square error of the outputs that is expected of all together.
        errors: The same of each alone, by width.
        costs: Of the model afterwards.
    """

    sizes: Mapping[str, int]
    error: float
    errors: Mapping[str, float]
    costs: Costs

    def operations(self, structure: Structure) -> list[Narrow]:
        """The operations, in the order of the graph."""
        return [Narrow(w.name, self.sizes[w.name]) for w in structure.widths if w.name in self.sizes]


def curves(
    structure: Structure, calibration: Calibration, *, kept: Callable[[Width], bool] = lambda _: False
) -> list[Curve]:
    """The curves of all widths that can be narrowed.

    Args:
        structure: Of the model.
        calibration: Samples to look at it with.
        kept: Whether a width must stay as it is.
    """
    found = []
    for width in structure.widths:
        if not width.resizable or width.size < 2 or kept(width):
            continue
        try:
            cost = cost_curve(structure, width, calibration, most=np.inf).cost[: width.size - 1]
            error = np.append(cost[::-1], 0.0)
            found.append(Curve(width, error * _arriving(structure, width, error, calibration)))
        except Refused:
            continue
    return found


def _arriving(structure: Structure, width: Width, error: Array, calibration: Calibration) -> float:
    """How much of the squared error of a width's readers arrives at the outputs, seen by narrowing it alone.

    Raises:
        Refused: It cannot be narrowed.
    """
    size = 1 + int(np.argmin(np.abs(np.log(np.maximum(error[:-1], 1e-12) / _PROBE))))
    if not error[size - 1] > 0:
        return 1.0  # nothing to see: whatever goes is idle
    narrowed = apply_edit(Narrow(width.name, size).plan(structure, calibration).edit)
    lost = output_loss(structure.model, narrowed, calibration)
    if not math.isfinite(lost):
        message = f"width {width.name!r} gives outputs that are infinite or not a number with {size} units"
        raise Refused(message)
    return max(1e-6, lost**2 / float(error[size - 1]))


def output_loss(before: Model, after: Model, calibration: Calibration) -> float:
    """Root mean square error of the outputs, relative to how they vary over the samples that nothing was fitted to, mean over the outputs."""
    names = [str(o.name) for o in before.outputs]
    old, new = calibration.holdout(before, names), calibration.holdout(after, names)
    lost = []
    for name in names:
        a, b = old[name].astype(np.float64), new[name].astype(np.float64)
        varies = float(
            np.square(a - a.mean(calibration.axis if a.ndim > calibration.axis else None, keepdims=True)).sum()
        )
        if varies > 0:
            lost.append(float(np.square(b - a).sum()) / varies)
    return float(np.sqrt(np.mean(lost))) if lost else 0.0


def outlined(structure: Structure, sizes: Mapping[str, int]) -> Model:
    """The model with widths of these sizes, whatever its weights."""
    maps = [
        m
        for width in structure.widths
        if sizes.get(width.name, width.size) < width.size
        for m in selection(width, np.arange(sizes[width.name]))
    ]
    return apply_edit(Edit(structure, tuple(maps))) if maps else structure.model


def cut(structure: Structure, found: Sequence[Curve], measure: Measure, most: float, *, trust: float = TRUST) -> Cut:
    """The sizes at which a measure of the model's costs is at most so much, at the least error of the outputs.

    Args:
        structure: Of the model.
        found: Its curves.
        measure: What is to be saved, not falling in parameters and operations.
        most: What it may be afterwards.
        trust: By how much a width may fall below what a uniform cut leaves of it.

    Raises:
        Refused: No sizes are small enough.
    """
    now = {c.width.name: c.width.size for c in found}
    least = costs(outlined(structure, dict.fromkeys(now, 1)))
    if measure(least) > most:
        message = (
            f"with one unit in every width that can be narrowed, the model still has {least.parameters:,} parameters and "
            f"{least.macs:,} multiply-accumulate operations: more than is allowed"
        )
        raise Refused(message)
    share = _share(structure, found, measure, most) / trust
    floor = {name: min(size, max(1, math.ceil(size * share))) for name, size in now.items()}
    sizes = at = now
    for _ in range(_ROUNDS):
        saved = _savings(structure, found, at, measure)
        low, high = _LOWEST, _HIGHEST
        for _ in range(_STEPS):
            price = float(np.sqrt(low * high))
            enough = measure(costs(outlined(structure, _at(found, saved, price, floor)))) <= most
            low, high = (low, price) if enough else (price, high)
        sizes = _at(found, saved, high, floor)
        at = {name: max(1, round(float(np.sqrt(sizes[name] * now[name])))) for name in now}
    errors = {c.width.name: float(np.sqrt(c.error[sizes[c.width.name] - 1])) for c in found}
    smaller = {name: size for name, size in sizes.items() if size < now[name]}
    return Cut(
        smaller,
        float(np.sqrt(sum(errors[name] ** 2 for name in smaller))),
        {name: errors[name] for name in smaller},
        costs(outlined(structure, smaller)),
    )


def uniform(structure: Structure, found: Sequence[Curve], measure: Measure, most: float) -> Cut:
    """Every width to the same share of its size: what one would do without any curve."""
    shared = _shared(found, _share(structure, found, measure, most))
    sizes = {c.width.name: s for c in found if (s := shared[c.width.name]) < c.width.size}
    errors = {c.width.name: float(np.sqrt(c.error[sizes[c.width.name] - 1])) for c in found if c.width.name in sizes}
    return Cut(sizes, float(np.sqrt(sum(e**2 for e in errors.values()))), errors, costs(outlined(structure, sizes)))


def _share(structure: Structure, found: Sequence[Curve], measure: Measure, most: float) -> float:
    """The largest share of all widths at which the measure is small enough."""
    low, high = 0.0, 1.0
    for _ in range(20):
        share = (low + high) / 2
        enough = measure(costs(outlined(structure, _shared(found, share)))) <= most
        low, high = (share, high) if enough else (low, share)
    return low


def _shared(found: Sequence[Curve], share: float) -> dict[str, int]:
    return {c.width.name: max(1, round(c.width.size * share)) for c in found}


def _savings(structure: Structure, found: Sequence[Curve], at: Mapping[str, int], measure: Measure) -> Array:
    """How much the measure falls a unit, about these sizes: float64, by width."""
    saved = np.zeros(len(found))
    for k, curve in enumerate(found):
        name = curve.width.name
        low, high = max(1, at[name] // 2), max(2, at[name])
        larger, smaller = (measure(costs(outlined(structure, {**at, name: size}))) for size in (high, low))
        saved[k] = (larger - smaller) / (high - low)
    return saved


def _at(found: Sequence[Curve], saved: Array, price: float, floor: Mapping[str, int]) -> dict[str, int]:
    """What every width takes at a price; of sizes that are worth the same, the largest."""
    sizes = {}
    for curve, unit in zip(found, saved, strict=True):
        worth = np.nan_to_num(curve.error, posinf=1e30) + price * unit * np.arange(1, curve.width.size + 1)
        least = floor[curve.width.name]
        sizes[curve.width.name] = curve.width.size - int(np.argmin(worth[least - 1 :][::-1]))
    return sizes
