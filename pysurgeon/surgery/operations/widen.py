r"""Widen: more units, the same function.

Let a width have the units x (n) and a reader y = W x. A widened width has the units x' = A x where each row of A picks one
old unit, and the reader becomes W' = W B with B A = 1, so that W' x' = W x for whatever stands between writers and readers
as long as it treats every unit alike.

- `fresh`, wherever it can be: the weights of a new unit are random, with the scale of the tensor they join, and it is read with zero. Its
  biases and norm parameters are those of some old unit, so that it is neither dead nor far out. The reader's zeros get a gradient
  in the first step, the writer's weights in the second.
- `split`: a unit is copied and its reader's share divided unequally among the copies (after Net2Net, Chen, Goodfellow and Shlens 2016,
  whose shares are equal). Shares alone do not part the twins: an adaptive optimizer takes the same step for a gradient and for half of
  it. So copies are read with random weights, too, of the tensor's scale, that sum to zero over the copies of a unit. Where the units of
  two computed values are multiplied with one another, the tensors that write them carry the shares (see `pysurgeon.widths.scale_exponents`),
  and there is nothing random.

Where an operator on the way is not defined for every number (the
  logarithm of a unit, say), zero times NaN would be NaN: there, new units are split from old ones. So they are where writer and
  reader are one tensor that carries the root of the share: two zeros would never learn.

Along a width that an operator averages, n units become a whole multiple of n, every one copied as often as all others: that
leaves the average where it was. Nothing else would.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal

import numpy as np
import onnx_ir as ir

from pysurgeon.errors import Refused
from pysurgeon.graph import Array, constant
from pysurgeon.graph.nodes import describe
from pysurgeon.graph.terms import leaves
from pysurgeon.surgery.calibration import Calibration
from pysurgeon.surgery.edits.edit import AxisMap, Edit
from pysurgeon.surgery.layers.blocks import resizable
from pysurgeon.surgery.methods.unit_init import parted_readers, random_writers
from pysurgeon.surgery.operation import Operation, Plan
from pysurgeon.surgery.operations.narrow import Narrow
from pysurgeon.widths.axis_layout import Select
from pysurgeon.widths.structure import Structure, Width

LARGEST_TENSOR = 2**33  # bytes; beyond it a size is a slip of the keyboard

How = Literal["fresh", "split"]

_PARTIAL = frozenset({"Acos", "Acosh", "Asin", "Atanh", "Log", "Reciprocal", "Sqrt"})


@dataclass(frozen=True)
class Widen(Operation):
    """Give a width more units.

    Attributes:
        width: Name of the width.
        size: Number of units afterwards.
        how: Where the new units come from; `fresh` learns best (`docs/operations.md`), and is `split` where it cannot be.
        seed: For the choice of units, shares and random weights.
    """

    kind: ClassVar[str] = "widen"
    exact: ClassVar[bool] = True

    width: str
    size: int
    how: How = "fresh"
    seed: int = 0

    @property
    def site(self) -> str:
        """The width."""
        return self.width

    def __str__(self) -> str:
        return f"widen:{self.width}={self.size}"

    def plan(self, structure: Structure, calibration: Calibration) -> Plan:  # noqa: ARG002 (exact: needs no samples)
        """Copy units in the writers and share them out in the readers."""
        width = resizable(structure, self.width)
        if self.size <= width.size:
            message = f"width {self.width!r} has {width.size} units; widening to {self.size} would not widen it"
            raise Refused(message)
        places = {t for t, _ in (*width.writers, *width.readers)}
        largest = max(structure.model.tensor(t).nbytes for t in places) * self.size // width.size
        if largest > LARGEST_TENSOR:
            message = f"width {self.width!r} with {self.size} units would need a tensor of {largest:.1e} bytes; at most {LARGEST_TENSOR:.1e} are allowed"
            raise Refused(message)
        refuse_inexact(width, self.size)
        rng = np.random.default_rng([self.seed, width.size, self.size])
        why = self._why_split(structure, width)
        added = self.size - width.size
        fresh = self.how == "fresh" and not why
        source = np.concatenate([np.arange(width.size), _sources(width.size, added, rng)])
        share = (np.arange(self.size) < width.size) if fresh else _shares(source, width.size, rng)
        # A fresh unit has no history: it is as a unit of a new network for the optimizer.
        history = Select.of(source, np.arange(self.size) < width.size) if fresh else None
        maps = tuple(
            AxisMap(t, a, width.dim, Select.of(source, _power(share, width.exponents[t, a])), history)
            for t, a in (*width.writers, *width.readers)
        )
        edit = Edit(structure, maps)
        values = random_writers(edit, width, rng) if fresh else parted_readers(edit, width, source, rng)
        way = "random and read with zero" if fresh else "copies with unequal shares"
        if self.how == "fresh" and why:
            way += f" ({why})"
        what = f"1 new unit, {way}, keeps" if added == 1 else f"{added} new units, {way}, keep"
        return Plan(
            Edit(structure, maps, values=values), 0.0, f"{what} the function", undo=Narrow(width.name, width.size)
        )

    @staticmethod
    def _why_split(structure: Structure, width: Width) -> str:
        """Why new units have to be split from old ones, as a clause; empty if they need not."""
        if width.averaged:
            return "only copies leave an average alone"
        if any(0 < e < 1 for e in width.exponents.values()):
            return "units of one tensor are multiplied with one another, and two zeros would never learn"
        undefined = next((n for n in structure.model.nodes if _is_partial(n) and _meets(structure, n, width)), None)
        return "" if undefined is None else f"{describe(undefined)} is not defined for every number"


def refuse_inexact(width: Width, size: int) -> None:
    """Refuse sizes to which a width cannot be widened exactly.

    Raises:
        Refused: There is none, or only whole multiples are.
    """
    if width.exact or (width.averaged and size % width.size == 0):
        return
    if width.averaged:
        low = width.size * (size // width.size)
        message = (
            f"width {width.name!r} has {width.size} units, and only whole multiples keep the function: {width.reason}; "
            f"widen it to {max(2 * width.size, low)}"
        )
    else:
        message = f"width {width.name!r} cannot be widened without changing the function: {width.reason}"
    raise Refused(message)


def _is_partial(node: ir.Node) -> bool:
    """Whether an operator gives NaN or infinity for some of the numbers that a random unit could have."""
    if node.domain != "":
        return False
    if node.op_type in ("Div", "Mod"):
        return constant(node.inputs[1]) is None
    if node.op_type == "Pow":
        exponent = constant(node.inputs[1])
        return exponent is None or bool(np.any((exponent < 0) | (exponent != np.round(exponent))))
    return node.op_type in _PARTIAL


def _meets(structure: Structure, node: ir.Node, width: Width) -> bool:
    terms = (t for v in node.inputs if v is not None for t in structure.constraints.resolved(v))
    return any(width.dim in leaves(t) for t in terms)


def _power(share: Array, exponent: Fraction) -> Array:
    return np.power(np.asarray(share, np.float64), float(exponent)).astype(np.float32)


def _sources(n: int, count: int, rng: np.random.Generator) -> Array:
    """Which old units the new ones are made from: each unit once before any is taken twice."""
    rounds = [rng.permutation(n) for _ in range(-(-count // n))]
    return np.concatenate(rounds)[:count]


def _shares(source: Array, n: int, rng: np.random.Generator) -> Array:
    """Positive shares that sum to one over the copies of a unit, no two of them equal."""
    raw = rng.uniform(0.5, 1.5, len(source))
    return raw / np.bincount(source, weights=raw, minlength=n)[source]
