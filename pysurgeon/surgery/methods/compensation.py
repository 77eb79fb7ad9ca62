r"""Readers that make up for a change of what they read.

A reader gave `y = W x` and will get x' instead of x. In two steps, each ridge least squares (see `_least_squares`):

1. The units: `x ~ B x' + c`, one map for all taps of a convolution and all positions of a flattened image, so there are few
   unknowns. The reader becomes `W B`, its bias takes up `W c`.
2. The taps: what is then missing of y is fitted with every tap and every position on its own, as a reader sees the patches of its
   input. That is for layers with a weight of their own and at most `LARGEST_FIT` inputs, where it holds on samples not fitted to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from pysurgeon.errors import Refused
from pysurgeon.graph import Array
from pysurgeon.graph.padding import same_padding
from pysurgeon.graph.terms import leaves
from pysurgeon.model.layers import Layer
from pysurgeon.operators.constraints import Read
from pysurgeon.surgery.calibration import Calibration
from pysurgeon.surgery.edits.apply import apply_edit
from pysurgeon.surgery.edits.edit import Edit
from pysurgeon.surgery.layers.bias import bias_of, given_by, with_constant
from pysurgeon.surgery.layers.weight_matrices import Form, form_of
from pysurgeon.surgery.methods.least_squares import fit
from pysurgeon.surgery.operation import Place
from pysurgeon.widths.axis_layout import Dense, map_axis, units
from pysurgeon.widths.structure import Structure, Width

# Taps times channels of a reader up to which every one of them is fitted on its own; the time grows with the third power.
LARGEST_FIT = 1200
_ROWS = 4  # patches looked at for each of them


@dataclass(frozen=True)
class Refit:
    """A reader's new tensors.

    Attributes:
        values: By name: its weight and, where a constant helps, its bias.
        lost: Squared error of what it gives, relative to that, on samples that were not fitted to.
        places: Where that can be measured.
    """

    values: dict[str, Array] = field(repr=False)
    lost: float
    places: tuple[Place, ...]


def refit(
    structure: Structure,
    width: Width,
    reads: Sequence[Read],
    calibration: Calibration,
    replaced: Callable[[Read], Array],
    prior: Array,
    *,
    taps: bool = True,
) -> Refit:
    """Fit one tensor to units that were exchanged for others.

    Args:
        structure: Of the model.
        width: What is read.
        reads: Where the tensor reads it.
        calibration: Samples.
        replaced: What a read gets instead of its value on the calibration batch.
        prior: What new units stand for old ones by themselves, float (m, n).
        taps: Whether to take the second step.

    Raises:
        Refused: Activations are not finite.
    """
    first = reads[0]
    weight, term = structure.model.tensor(first.tensor), structure.term(first.tensor, first.axis)
    bias = bias_of(structure, width, first) if len(reads) == 1 else None
    instead = [replaced(r) for r in reads]
    pairs = [_unit_rows(structure, width, r, calibration, x, len(prior)) for r, x in zip(reads, instead, strict=True)]
    old, new, folds = (np.concatenate(x) for x in zip(*pairs, strict=True))
    by_unit = units(weight, first.axis, term, width.dim).astype(np.float64)
    energy = by_unit.T @ by_unit
    constant = bias is not None and not bias.padded
    found = fit(new, old - new @ prior, folds, constant=constant, metric=energy)
    values = {
        first.tensor: map_axis(weight, first.axis, term, width.dim, Dense((prior + found.matrix).astype(np.float32)))
    }
    if constant:
        assert bias is not None
        values[bias.name] = with_constant(structure, width, first, bias.name, found.constant)
    signal = float(np.sum((old.T @ old) * energy))
    places = tuple(p for r in reads if (p := given_by(structure, width, r)) is not None)
    by_units = Refit(values, found.lost / max(signal, 1e-300), places)
    own = _own_layer(structure, first) if len(reads) == 1 else None
    if own is None or not places or not taps:
        return by_units
    channels = values[first.tensor].shape[first.axis]
    inputs = channels * int(np.prod(weight.shape[2:]))
    if inputs > LARGEST_FIT or inputs == len(prior):  # too many, or none that were not fitted before
        return by_units
    return _by_taps(structure, first, own, calibration, instead[0], by_units, None if bias is None else bias.name)


def refit_taps(
    structure: Structure, width: Width, read: Read, calibration: Calibration, edit: Edit, lost: float
) -> Refit | None:
    """Fit what is missing of what a reader gave once an edit has given it other units and a weight for them, as far as that helps.

    Args:
        structure: Of the model.
        width: What is read.
        read: How.
        calibration: Samples.
        edit: What changes the units and the weight.
        lost: Squared error of what the reader gives, relative to that, without a fit.

    Returns:
        `None` where what the reader gives cannot be looked at.
    """
    place = given_by(structure, width, read)
    if place is None:
        return None
    weight = edit.mapped(read.tensor, structure.model.tensor(read.tensor))
    so_far = Refit({read.tensor: weight}, lost, (place,))
    own = _own_layer(structure, read)
    if own is None or weight.shape[read.axis] > LARGEST_FIT:
        return so_far
    instead = calibration.activations(apply_edit(edit), [read.value])[read.value]
    bias = bias_of(structure, width, read, once=False)
    return _by_taps(structure, read, own, calibration, instead, so_far, None if bias is None else bias.name)


def _unit_rows(
    structure: Structure, width: Width, read: Read, calibration: Calibration, replaced: Array, size: int
) -> tuple[Array, Array, Array]:
    """What a reader saw of the units, what it will see, and the fold of every row."""
    value = calibration.activations(structure.model, [read.value])[read.value]
    # The reader finds the new units laid out as the old ones were.
    term = structure.value_term(read.value, read.value_axis)
    old = units(value, read.value_axis, term, width.dim)
    new = units(replaced, read.value_axis, term, width.dim, {width.dim: size})
    chosen = calibration.chosen(len(old))
    folds = calibration.folds(len(old), list(leaves(term)).count(width.dim))
    return calibration.finite(old[chosen]), calibration.finite(new[chosen]), folds[chosen]


def _own_layer(structure: Structure, read: Read) -> tuple[Layer, Form] | None:
    """The layer that a read belongs to, if it is one matrix that nothing else uses and that is multiplied with as it is."""
    for layer in structure.layers:
        if layer.weight == read.tensor and str(layer.output.name) == read.node:
            try:
                form = form_of(structure, layer)
            except Refused:
                return None
            attributes = layer.node.attributes
            scaled = attributes.get_int("transA", 0) == 1 or attributes.get_float("alpha", 1.0) != 1.0
            dense = layer.operator in ("Gemm", "MatMul") and len(form.shape) == 2 and not scaled
            return (layer, form) if dense or (layer.operator == "Conv" and form.count == 1) else None
    return None


def _by_taps(
    structure: Structure,
    read: Read,
    own: tuple[Layer, Form],
    calibration: Calibration,
    replaced: Array,
    by_units: Refit,
    bias: str | None,
) -> Refit:
    """Fit what is still missing of what a layer gave, every tap on its own."""
    (place,), (layer, form) = by_units.places, own
    weight = by_units.values[read.tensor]
    matrix = form.matrices(weight)[0].astype(np.float64)
    given = calibration.activations(structure.model, [place.before])[place.before]
    given = np.moveaxis(given, place.axis, -1)
    count = int(np.prod(given.shape[:-1]))
    chosen = calibration.chosen(count, _ROWS * matrix.shape[1] + 2000)
    folds = calibration.folds(count)[chosen]
    wanted = calibration.finite(given.reshape(count, -1)[chosen])
    seen = calibration.finite(_inputs(structure, layer, replaced, given.shape[:-1], chosen))
    added = place.offset
    if bias is not None and bias in by_units.values:
        added = added + (by_units.values[bias].astype(np.float64) - structure.model.tensor(bias)).reshape(-1)
    missing = wanted - added - seen @ matrix.T
    found = fit(seen, missing, folds, constant=bias is not None)
    lost = found.lost / max(float(np.square(wanted - place.offset).sum()), 1e-300)
    if not np.isfinite(found.ridge):
        return Refit(by_units.values, lost, by_units.places)
    new = form.stored((matrix + found.matrix.T)[None], weight.shape).astype(np.float32)
    values = by_units.values | {read.tensor: new}
    if bias is not None:
        old = by_units.values.get(bias, structure.model.tensor(bias))
        values[bias] = np.asarray(old + found.constant.reshape(old.shape), np.float32)
    return Refit(values, lost, by_units.places)


def _inputs(structure: Structure, layer: Layer, value: Array, given: tuple[int, ...], chosen: Array) -> Array:
    """The rows of inputs that some of a layer's outputs are made from: (rows, inputs times taps).

    Args:
        structure: Of the model.
        layer: The layer.
        value: What it gets.
        given: Shape of what it gives, without the axis of its units.
        chosen: Which outputs, numbered over that shape.
    """
    if layer.operator != "Conv":
        moved = np.moveaxis(value, layer.units_axis, -1)
        return np.asarray(moved.reshape(-1, moved.shape[-1])[chosen])
    taps = structure.model.tensor(layer.weight).shape[2:]
    attributes, spatial = layer.node.attributes, value.shape[2:]
    strides = attributes.get_ints("strides", [1] * len(taps))
    dilations = attributes.get_ints("dilations", [1] * len(taps))
    mode = attributes.get_string("auto_pad", "NOTSET")
    if mode == "NOTSET":
        pads = list(attributes.get_ints("pads", [0] * (2 * len(taps))))
        around = list(zip(pads[: len(taps)], pads[len(taps) :], strict=True))
    else:
        around = [same_padding(mode, *x) for x in zip(spatial, taps, strides, dilations, strict=True)]
    padded = np.pad(value, [(0, 0), (0, 0), *around])
    sample, *position = np.unravel_index(chosen, given)
    rows = np.empty((len(chosen), value.shape[1], *taps), value.dtype)
    for tap in np.ndindex(*taps):
        at = [p * s + t * d for p, s, t, d in zip(position, strides, tap, dilations, strict=True)]
        rows[(slice(None), slice(None), *tap)] = padded[(sample, slice(None), *at)]
    return rows.reshape(len(chosen), -1)
