"""Narrow: fewer units, chosen by what their readers would lose, with the readers making up for them (see `elimination`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pysurgeon.errors import Refused
from pysurgeon.graph import Array
from pysurgeon.graph.terms import squared
from pysurgeon.operators.constraints import Read
from pysurgeon.surgery.calibration import Calibration
from pysurgeon.surgery.edits.apply import apply_edit
from pysurgeon.surgery.edits.edit import AxisMap, Edit
from pysurgeon.surgery.layers.bias import bias_of
from pysurgeon.surgery.layers.blocks import resizable
from pysurgeon.surgery.methods.change_of_basis import bases, contraction_of
from pysurgeon.surgery.methods.compensation import refit, refit_taps
from pysurgeon.surgery.methods.duplicate_units import merged
from pysurgeon.surgery.methods.elimination import FEW, Elimination, View, eliminate, loss, stand_ins
from pysurgeon.surgery.operation import Operation, Place, Plan
from pysurgeon.widths.axis_layout import Select, map_axis, units
from pysurgeon.widths.structure import Structure, Width

# Error of the readers up to which an elimination goes first: beyond it nobody narrows but by express wish.
LARGEST_ERROR = 0.25

# Error of the readers below which units go rather than directions, so that what stays is as it was.
FREE = 1e-6


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
        """Eliminate the cheapest units and refit the readers."""
        width = self._possible(structure)
        removed = width.size - self.size
        maps = merged(structure, width, self.size)
        if maps is not None:
            copies = "1 unit is a copy of another one" if removed == 1 else f"{removed} units are copies of others"
            return Plan(Edit(structure, tuple(maps)), 0.0, f"{copies}, and what they share goes back together")
        elimination = elimination_of(structure, width, calibration, most=LARGEST_ERROR)
        if elimination.cost[removed - 1] > FREE**2:
            changed = _change_of_basis(structure, width, self.size, calibration)
            if changed is not None:
                return changed
        if not np.isfinite(elimination.cost[removed - 1]):
            elimination = elimination_of(structure, width, calibration, most=np.inf)
        kept = np.sort(elimination.order[removed:])
        twins = _twins(structure, width)
        maps = selection(width, kept)
        drifting = _drifting(structure, width)
        losses: list[float] = []
        values: dict[str, Array] = {}
        places: list[Place] = []
        seen: dict[str, Array] = {}

        def remaining(read: Read) -> Array:
            """What a reader gets when only some units are kept and the readers before it have made up for that."""
            if read not in drifting:
                value = calibration.activations(structure.model, [read.value])[read.value]
                term = structure.value_term(read.value, read.value_axis)
                return map_axis(value, read.value_axis, term, width.dim, Select.of(kept))
            if read.value not in seen:
                so_far = apply_edit(Edit(structure, tuple(maps), values=values))
                seen.update(calibration.activations(so_far, [read.value]))
            return seen[read.value]

        for reads, view in _in_order(structure, views(structure, width, calibration)):
            if not reads or not _compensable(structure, width, reads[0]):
                losses.append(loss(view, kept))
                continue
            found = refit(structure, width, reads, calibration, remaining, stand_ins(view, kept, twins))
            for m in maps:  # a tensor that reads the width on one axis may write it on another
                if m.tensor in found.values and (m.tensor, m.axis) not in width.readers:
                    term = structure.term(m.tensor, m.axis)
                    found.values[m.tensor] = map_axis(found.values[m.tensor], m.axis, term, m.dim, m.map)
            values |= found.values
            losses.append(found.lost)
            places += found.places
        error = float(np.sqrt(np.mean(losses))) if losses else 0.0
        everywhere = len(places) >= len(losses)
        return Plan(
            Edit(structure, tuple(maps), values=values),
            error,
            f"the {'unit' if removed == 1 else f'{removed} units'} that the readers can best do without",
            tuple(places) if everywhere else (),
        )

    def outline(self, structure: Structure, calibration: Calibration) -> Edit:  # noqa: ARG002 (any units will do)
        """The first units are kept, and nothing makes up for the others."""
        width = self._possible(structure)
        return Edit(structure, tuple(selection(width, np.arange(self.size))))

    def _possible(self, structure: Structure) -> Width:
        """The width.

        Raises:
            Refused: It cannot be resized, or not to this size.
        """
        width = resizable(structure, self.width)
        if not 1 <= self.size < width.size:
            sizes = f"it can be narrowed to 1..{width.size - 1}" if width.size > 1 else "it cannot be narrowed"
            message = f"width {self.width!r} has {width.size} units; {sizes}, not to {self.size}"
            raise Refused(message)
        return width


def _change_of_basis(structure: Structure, width: Width, size: int, calibration: Calibration) -> Plan | None:
    """Fewer directions instead of fewer units, where only linear maps touch them and no units can go for nothing."""
    contraction = contraction_of(structure, width)
    if contraction is None:
        return None
    found = bases(contraction, structure, calibration)
    maps = contraction.maps(found.left[..., :size], found.right[..., :size])
    lost = float(found.cost[width.size - size - 1])
    reason = f"the {size} directions that hold {1 - lost:.1%} of what is made of all of them"
    if contraction.read is None:
        place = Place(contraction.node, contraction.node, np.zeros(1), -1)
        return Plan(Edit(structure, tuple(maps)), float(np.sqrt(lost)), reason, (place,))
    edit = Edit(structure, tuple(maps))
    again = refit_taps(structure, width, contraction.read, calibration, edit, lost)
    values, lost, places = ({}, lost, ()) if again is None else (again.values, again.lost, again.places)
    return Plan(Edit(structure, tuple(maps), values=values), float(np.sqrt(lost)), reason, places)


def _drifting(structure: Structure, width: Width) -> set[Read]:
    """Readers that get more changed than the units that go.

    What they read comes from behind another reader of the width, or from behind an operator that runs along it.
    """
    nodes = structure.constraints.nodes
    readers = {nodes[r.node]: r.tensor for r in width.reads}
    found = set()
    for read in width.reads:
        waiting, seen = [structure.value(read.value)], set()
        while waiting and read not in found:
            producer = waiting.pop().producer()
            if producer is None or producer in seen:
                continue
            seen.add(producer)
            # A tensor that is used again is one reader, which cannot be refitted before itself.
            if readers.get(producer, read.tensor) != read.tensor or not width.exact:
                found.add(read)
            waiting += [v for v in producer.inputs if v is not None]
    return found


def _in_order(structure: Structure, seen: list[tuple[tuple[Read, ...], View]]) -> list[tuple[tuple[Read, ...], View]]:
    """Readers in the order in which the model computes them."""
    place = {node: k for k, node in enumerate(structure.model.nodes)}
    nodes = structure.constraints.nodes
    return sorted(seen, key=lambda x: max((place[nodes[r.node]] for r in x[0]), default=-1))


def _twins(structure: Structure, width: Width) -> dict[int, int]:
    """Units that are written just as a later one is, and by which: they are equal on any input."""
    parts = []
    for tensor, axis in width.writers:
        if width.exponents[tensor, axis]:
            return {}  # what writes a unit reads it, too
        parts.append(units(structure.model.tensor(tensor), axis, structure.term(tensor, axis), width.dim).T)
    rows = [b"".join(np.ascontiguousarray(p[k]).tobytes() for p in parts) for k in range(width.size)]
    later: dict[bytes, int] = {}
    twins = {}
    for k in range(width.size - 1, -1, -1):
        if rows[k] in later:
            twins[k] = later[rows[k]]
        later[rows[k]] = k
    return dict(sorted(twins.items()))


def _compensable(structure: Structure, width: Width, read: Read) -> bool:
    """Whether a reader may make up for units by mixing others.

    Not where each unit is multiplied with one partner, or with every other one before it is read; nor where the axis that is read
    writes the units, too, or another axis of the tensor reads them.
    """
    axes = [axis for tensor, axis in width.readers if tensor == read.tensor]
    alone = not squared(structure.term(read.tensor, read.axis), width.dim)
    return not width.products and axes == [read.axis] and alone


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
    twins = _twins(structure, width)
    return calibration.kept(structure.model, key, lambda: eliminate([v for _, v in seen], twins=twins, most=most))


def cost_curve(
    structure: Structure, width: Width, calibration: Calibration, *, most: float = LARGEST_ERROR
) -> Elimination:
    """What narrowing a width to every size should cost on samples that nothing was fitted to.

    The order is that of units, also where fewer directions cost less than fewer units. An elimination knows what its fit left of the
    samples that it saw; k unknowns for each output and N samples make (N + k) / (N - k) of that on others (Akaike 1969).
    """
    found = elimination_of(structure, width, calibration, most=most)
    samples = min((v.samples for _, v in views(structure, width, calibration) if v.samples), default=0)
    kept = np.arange(width.size - 1, -1, -1)
    # With fewer samples the Gram matrices are shrunk, which says enough.
    fitted = samples >= FEW * width.size and any(_compensable(structure, width, r) for r in width.reads)
    inflated = found.cost * ((samples + kept) / np.maximum(samples - kept, 1)) if fitted else found.cost
    cost = np.where(found.cost > FREE**2, np.maximum.accumulate(inflated), found.cost)
    contraction = contraction_of(structure, width)
    if contraction is not None:
        cost = np.minimum(cost, bases(contraction, structure, calibration).cost)
    return Elimination(found.order, cost)


def views(structure: Structure, width: Width, calibration: Calibration) -> list[tuple[tuple[Read, ...], View]]:
    """The width as each of its readers sees it on the calibration batch. A tensor that is used twice is one reader.

    Where two computed values are contracted, the one is the reader of the other: there is no tensor, and no `Read`.
    """
    return calibration.kept(structure.model, ("views", width.name), lambda: _views(structure, width, calibration))


def _views(structure: Structure, width: Width, calibration: Calibration) -> list[tuple[tuple[Read, ...], View]]:
    result: list[tuple[tuple[Read, ...], View]] = []
    for tensor, axis in dict.fromkeys((r.tensor, r.axis) for r in width.reads):
        reads = tuple(r for r in width.reads if (r.tensor, r.axis) == (tensor, axis))
        rows = np.concatenate([calibration.rows(structure, r, width.dim) for r in reads])
        mean = None
        if _compensable(structure, width, reads[0]) and bias_of(structure, width, reads[0]) is not None:
            mean = rows.mean(0)
            rows = rows - mean
        weight = units(structure.model.tensor(tensor), axis, structure.term(tensor, axis), width.dim).astype(np.float64)
        result.append((reads, View(rows.T @ rows / max(1, len(rows)), weight.T @ weight, mean, len(rows))))
    for product in width.products:
        grams, count = [], 0
        for value, axis in ((product.value, product.axis), (product.other, product.other_axis)):
            rows = calibration.units_of(structure, value, axis, width.dim)
            grams.append(rows.T @ rows / max(1, len(rows)))
            count = len(rows)
        result.append(((), View(grams[0], grams[1], None, count)))
    return result
