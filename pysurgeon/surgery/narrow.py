"""Narrow: fewer units, chosen by what their readers would lose, with the readers making up for them (see `elimination`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pysurgeon.errors import Refused
from pysurgeon.graph import Array
from pysurgeon.graph.inference import Read
from pysurgeon.graph.widths import Structure, Width
from pysurgeon.surgery._biases import bias_of, with_constant
from pysurgeon.surgery.calibration import Calibration
from pysurgeon.surgery.edit import AxisMap, Dense, Edit, Select, units
from pysurgeon.surgery.elimination import Elimination, View, compensation, eliminate, loss
from pysurgeon.surgery.operation import Operation, Plan
from pysurgeon.surgery.widen import resizable

# Error of the readers up to which an elimination goes first: beyond it nobody narrows but by express wish.
LARGEST_ERROR = 0.25


@dataclass(frozen=True)
class Narrow(Operation):
    """Take units away from a width.

    Attributes:
        width: Name of the width.
        size: Number of units afterwards.
    """

    kind: ClassVar[str] = "narrow"
    exact: ClassVar[bool] = False

    width: str
    size: int

    @property
    def site(self) -> str:
        """The width."""
        return self.width

    def __str__(self) -> str:
        return f"narrow:{self.width}={self.size}"

    def plan(self, structure: Structure, calibration: Calibration) -> Plan:
        """Eliminate the cheapest units; readers get a dense map, writers a selection."""
        width = resizable(structure, self.width)
        if not 1 <= self.size < width.size:
            sizes = f"it can be narrowed to 1..{width.size - 1}" if width.size > 1 else "it cannot be narrowed"
            message = f"width {self.width!r} has {width.size} units; {sizes}, not to {self.size}"
            raise Refused(message)
        removed = width.size - self.size
        elimination = elimination_of(structure, width, calibration, most=LARGEST_ERROR)
        if not np.isfinite(elimination.cost[removed - 1]):
            elimination = elimination_of(structure, width, calibration, most=np.inf)
        kept = np.sort(elimination.order[removed:])
        compensated = {(r.tensor, r.axis) for r in width.reads if _compensable(width, r)}
        maps = [m for m in selection(width, kept) if (m.tensor, m.axis) not in compensated]
        losses, values = [], {}
        for read, view in views(structure, width, calibration):
            if read is None or (read.tensor, read.axis) not in compensated:
                losses.append(loss(view, kept, np.eye(width.size)[kept]))
                continue
            stand_in = compensation(view.gram, kept)
            maps.append(AxisMap(read.tensor, read.axis, width.dim, Dense(stand_in)))
            losses.append(loss(view, kept, stand_in))
            bias = bias_of(structure, width, read)
            if bias is not None and view.mean is not None:
                missing = view.mean - view.mean[kept] @ stand_in
                values[bias] = with_constant(structure, width, read, bias, missing)
        error = float(np.sqrt(np.mean(losses))) if losses else 0.0
        return Plan(
            Edit(structure, tuple(maps), values=values),
            error,
            f"the {removed} units that the readers can best do without",
        )


def _compensable(width: Width, read: Read) -> bool:
    """Whether a reader may make up for units by mixing others.

    Not where each unit is multiplied with one partner, nor where the reader's tensor writes the units, too.
    """
    return not width.products and (read.tensor, read.axis) in width.readers


def selection(width: Width, kept: Array) -> list[AxisMap]:
    """The maps that keep some units as they are, and nothing makes up for the others.

    Args:
        width: The width.
        kept: int64 (m,), which units are kept, in their new order.
    """
    return [AxisMap(t, a, width.dim, Select.of(kept)) for t, a in (*width.writers, *width.readers)]


def elimination_of(structure: Structure, width: Width, calibration: Calibration, *, most: float) -> Elimination:
    """The order in which the units of a width go, up to a relative error of the readers of `most`."""
    seen = views(structure, width, calibration)
    key = ("elimination", width.name, str(most))
    return calibration.kept(structure.model, key, lambda: eliminate([view for _, view in seen], most=most))


def views(structure: Structure, width: Width, calibration: Calibration) -> list[tuple[Read | None, View]]:
    """The width as each of its readers sees it on the calibration batch. A tensor that is used twice is one reader.

    Where two computed values are contracted, the one is the reader of the other: there is no tensor, and `None` in its place.
    """
    return calibration.kept(structure.model, ("views", width.name), lambda: _views(structure, width, calibration))


def _views(structure: Structure, width: Width, calibration: Calibration) -> list[tuple[Read | None, View]]:
    found: dict[tuple[str, int], tuple[Read, Array | None, list[Array]]] = {}
    for read in width.reads:
        rows = calibration.rows(structure, read, width.dim)
        mean = rows.mean(0) if _compensable(width, read) and bias_of(structure, width, read) is not None else None
        if mean is not None:
            rows = rows - mean
        found.setdefault((read.tensor, read.axis), (read, mean, []))[2].append(rows.T @ rows / max(1, len(rows)))
    result: list[tuple[Read | None, View]] = []
    for (tensor, axis), (read, mean, grams) in found.items():
        weight = units(structure.model.tensor(tensor), axis, structure.term(tensor, axis), width.dim).astype(np.float64)
        result.append((read, View(np.mean(grams, axis=0), weight.T @ weight, mean)))
    for product in width.products:
        grams = []
        for value, axis in ((product.value, product.axis), (product.other, product.other_axis)):
            rows = calibration.units_of(structure, value, axis, width.dim)
            grams.append(rows.T @ rows / max(1, len(rows)))
        result.append((None, View(grams[0], grams[1])))
    return result
