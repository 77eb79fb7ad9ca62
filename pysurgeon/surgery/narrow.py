"""Narrow: fewer units, chosen by what their readers would lose, with the readers making up for them (see `elimination`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pysurgeon.errors import Refused
from pysurgeon.graph.inference import Read
from pysurgeon.graph.widths import Structure, Width
from pysurgeon.surgery.calibration import Calibration
from pysurgeon.surgery.edit import AxisMap, Dense, Edit, Select, units
from pysurgeon.surgery.elimination import View, compensation, eliminate
from pysurgeon.surgery.operation import Operation, Plan
from pysurgeon.surgery.widen import resizable


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
            message = f"width {self.width!r} has {width.size} units; it can be narrowed to 1..{width.size - 1}, not to {self.size}"
            raise Refused(message)
        seen = views(structure, width, calibration)
        removed = width.size - self.size
        elimination = eliminate([view for _, view in seen])
        kept = np.sort(elimination.order[removed:])
        maps = [AxisMap(t, a, width.dim, Select.of(kept)) for t, a in width.writers]
        maps += [
            AxisMap(read.tensor, read.axis, width.dim, Dense(compensation(view.gram, kept))) for read, view in seen
        ]
        error = elimination.error(removed)
        return Plan(Edit(structure, tuple(maps)), error, f"the {removed} units that the readers can best do without")


def views(structure: Structure, width: Width, calibration: Calibration) -> list[tuple[Read, View]]:
    """The width as each of its readers sees it on the calibration batch. A tensor that is used twice is one reader."""
    found: dict[tuple[str, int], tuple[Read, list[np.ndarray]]] = {}
    for read in width.reads:
        rows = calibration.rows(structure, read, width.dim)
        found.setdefault((read.tensor, read.axis), (read, []))[1].append(rows.T @ rows / max(1, len(rows)))
    result = []
    for (tensor, axis), (read, grams) in found.items():
        weight = units(structure.model.tensor(tensor), axis, structure.term(tensor, axis), width.dim).astype(np.float64)
        result.append((read, View(sum(grams) / len(grams), weight.T @ weight)))  # type: ignore[arg-type]
    return result
