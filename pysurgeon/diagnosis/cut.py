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
from pysurgeon.model.costs import Costs
from pysurgeon.surgery import Calibration, Narrow, apply_edit
from pysurgeon.surgery.edits.edit import Edit
from pysurgeon.surgery.operations.narrow import cost_curve, selection
from pysurgeon.surgery.size_costs import SizeCosts
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


def cut(
    structure: Structure,
    found: Sequence[Curve],
    measure: Measure,
    most: float,
    *,
    trust: float = TRUST,
    multiple: int = 1,
) -> Cut:
    """The sizes at which a measure of the model's costs is at most so much, at the least error of the outputs.

    Args:
        structure: Of the model.
        found: Its curves.
        measure: What is to be saved, not falling in parameters and operations.
        most: What it may be afterwards.
        trust: By how much a width may fall below what a uniform cut leaves of it.
        multiple: Widths that become narrower have a multiple of so many elements.

    Raises:
        Refused: No sizes are small enough.
    """
    plan = _Planning(structure, found, measure, multiple)
    now = {c.width.name: c.width.size for c in found}
    ensure_reachable(structure, found, measure, most, multiple=multiple)
    share = plan.share(most) / trust
    floor = {name: min(size, max(1, math.ceil(size * share))) for name, size in now.items()}
    if measure(plan.costs(plan.at(plan.savings(now), _HIGHEST, floor))) > most:
        floor = dict.fromkeys(now, 1)  # steps between the sizes that are allowed are too long for it
    sizes = at = now
    for _ in range(_ROUNDS):
        saved = plan.savings(at)
        low, high = _LOWEST, _HIGHEST
        for _ in range(_STEPS):
            price = float(np.sqrt(low * high))
            enough = measure(plan.costs(plan.at(saved, price, floor))) <= most
            low, high = (low, price) if enough else (price, high)
        sizes = plan.at(saved, high, floor)
        at = {name: max(1, round(float(np.sqrt(sizes[name] * now[name])))) for name in now}
    return plan.cut(plan.filled(sizes, most))


def uniform(structure: Structure, found: Sequence[Curve], measure: Measure, most: float, *, multiple: int = 1) -> Cut:
    """Every width to the same share of its size: what one would do without any curve."""
    plan = _Planning(structure, found, measure, multiple)
    return plan.cut(plan.shared(plan.share(most)))


def ensure_reachable(
    structure: Structure, found: Sequence[Curve], measure: Measure, most: float, *, multiple: int = 1
) -> None:
    """See that some sizes are small enough; see `cut`.

    Raises:
        Refused: None are.
    """
    least = smallest(structure, found, multiple=multiple).costs
    if measure(least) > most:
        one = "one unit" if multiple == 1 else f"the smallest multiple of {multiple}"
        message = (
            f"with {one} in every width that can be narrowed, the model still has {least.parameters:,} parameters and "
            f"{least.macs:,} multiply-accumulate operations: more than is allowed"
        )
        raise Refused(message)


def smallest(structure: Structure, found: Sequence[Curve], *, multiple: int = 1) -> Cut:
    """Every width at the smallest size that it may have."""
    plan = _Planning(structure, found, lambda size: float(size.parameters), multiple)
    return plan.cut({name: int(sizes[0]) for name, sizes in plan.allowed.items()})


class _Planning:
    """What sizes save and cost, without any model being built.

    Args:
        structure: Of the model.
        found: Its curves.
        measure: What is to be saved.
        multiple: See `cut`.
    """

    def __init__(self, structure: Structure, found: Sequence[Curve], measure: Measure, multiple: int) -> None:
        self.found, self.measure = found, measure
        self.costs = SizeCosts(structure)
        self.allowed = {c.width.name: _allowed(c.width, multiple) for c in found}

    def cut(self, sizes: Mapping[str, int]) -> Cut:
        """What these sizes are as a plan."""
        smaller = {c.width.name: s for c in self.found if (s := sizes[c.width.name]) < c.width.size}
        errors = {
            c.width.name: float(np.sqrt(c.error[smaller[c.width.name] - 1]))
            for c in self.found
            if c.width.name in smaller
        }
        total = float(np.sqrt(sum(e**2 for e in errors.values())))
        return Cut(smaller, total, errors, self.costs(smaller))

    def share(self, most: float) -> float:
        """The largest share of all widths at which the measure is small enough."""
        low, high = 0.0, 1.0
        for _ in range(20):
            share = (low + high) / 2
            enough = self.measure(self.costs(self.shared(share))) <= most
            low, high = (share, high) if enough else (low, share)
        return low

    def shared(self, share: float) -> dict[str, int]:
        """Every width at about this share of its size."""
        found = {}
        for curve in self.found:
            allowed, wanted = self.allowed[curve.width.name], max(1, round(curve.width.size * share))
            found[curve.width.name] = int(allowed[max(0, int(np.searchsorted(allowed, wanted, side="right")) - 1)])
        return found

    def savings(self, at: Mapping[str, int]) -> Array:
        """How much the measure falls a unit, about these sizes: float64, by width."""
        saved = np.zeros(len(self.found))
        for k, curve in enumerate(self.found):
            name = curve.width.name
            low, high = max(1, at[name] // 2), max(2, at[name])
            larger, smaller = (self.measure(self.costs({**at, name: size})) for size in (high, low))
            saved[k] = (larger - smaller) / (high - low)
        return saved

    def at(self, saved: Array, price: float, floor: Mapping[str, int]) -> dict[str, int]:
        """What every width takes at a price; of sizes that are worth the same, the largest."""
        sizes = {}
        for curve, unit in zip(self.found, saved, strict=True):
            allowed = self.allowed[curve.width.name]
            allowed = allowed[allowed >= floor[curve.width.name]]
            worth = np.nan_to_num(curve.error[allowed - 1], posinf=1e30) + price * unit * allowed
            sizes[curve.width.name] = int(allowed[len(allowed) - 1 - int(np.argmin(worth[::-1]))])
        return sizes

    def filled(self, sizes: Mapping[str, int], most: float) -> dict[str, int]:
        """With units given back as long as there is room: a price takes whole stretches of a curve that is not convex.

        Args:
            sizes: By width.
            most: What the measure may be.
        """
        filled = dict(sizes)
        while True:
            now, best, size = self.measure(self.costs(filled)), 0.0, {}
            for curve in self.found:
                name, error = curve.width.name, np.nan_to_num(curve.error, posinf=1e30)
                larger = self.allowed[name][self.allowed[name] > filled[name]][:1]
                if not len(larger):
                    continue
                needed = self.measure(self.costs({**filled, name: int(larger[0])}))
                gained = float(error[filled[name] - 1] - error[larger[0] - 1]) / max(needed - now, 1e-12)
                if needed <= most and gained > best:
                    best, size = gained, {name: int(larger[0])}
            if not size:
                return filled
            filled |= size


def _allowed(width: Width, multiple: int) -> Array:
    """The sizes that a width may have, int64, ascending: those of a multiple of so many elements, and what it has."""
    sizes = np.arange(1, width.size + 1)
    return np.asarray(sizes[(sizes * width.multiple % multiple == 0) | (sizes == width.size)])
