r"""Remove a layer: its readers are refitted on the removed layer's *input*.

Let u be what goes into the layer and v what comes out of its activation. Readers get u instead of v; their weights become
`W B`, where B is the ridge least squares fit `v ~ B u + c` on the calibration batch, as each reader sees the two; c is for
readers with a bias that takes it up. Exact when the layer was linear. The share of v that the fit explains (R^2) ranks the sites.

The last layer of a residual branch goes with all of its branch: what the branch gave is added no more, but for its mean. A layer that
writes units which others write, too, has readers that cannot be refitted: they get its input as it is, if the layer is nearly the
identity.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from pysurgeon.errors import Refused
from pysurgeon.graph import Array, count_uses, sizes
from pysurgeon.graph.names import Names, value_names
from pysurgeon.graph.terms import Dim, squared
from pysurgeon.model.layers import Layer
from pysurgeon.operators.constraints import Read
from pysurgeon.surgery.calibration import Calibration
from pysurgeon.surgery.edits.apply import apply_edit
from pysurgeon.surgery.edits.edit import AxisMap, Edit, Rewire
from pysurgeon.surgery.layers.blocks import Branch, Site, branch_of, dims, idempotent, refuse_end, shape_text, site_of
from pysurgeon.surgery.layers.weight_matrices import form_of, weight_matrices
from pysurgeon.surgery.methods.compensation import refit
from pysurgeon.surgery.operation import Operation, Place, Plan
from pysurgeon.widths.axis_layout import Select
from pysurgeon.widths.structure import Structure, Width

# Share of the energy of a sum below which a summand is what float32 has rounded.
_ROUNDING = 1e-13


@dataclass(frozen=True)
class RemoveLayer(Operation):
    """Take out a layer with its norm and activation.

    Attributes:
        layer: Name of the layer.
    """

    kind: ClassVar[str] = "remove"
    exact: ClassVar[bool] = False

    layer: str

    @property
    def site(self) -> str:
        """The layer."""
        return self.layer

    def __str__(self) -> str:
        return f"remove:{self.layer}"

    def plan(self, structure: Structure, calibration: Calibration) -> Plan:
        """Lead the readers to the layer's input and refit them; or leave out the residual branch that ends in the layer."""
        return self._plan(structure, calibration, taps=True)

    def outline(self, structure: Structure, calibration: Calibration) -> Edit:
        """The readers take any weights."""
        site = site_of(structure.layer(self.layer))
        if branch_of(site) is not None:
            return self.plan(structure, calibration).edit
        try:
            return _bypassing(site, *_check(structure, site), structure)
        except Refused:
            return self.plan(structure, calibration).edit

    def required_activations(self, structure: Structure) -> tuple[str, ...]:
        """The values that tell what a residual branch gives, where the layer ends one."""
        branch = branch_of(site_of(structure.layer(self.layer)))
        return () if branch is None else (str(branch.value.name), str(branch.total.name))

    def linearity(self, structure: Structure, calibration: Calibration) -> float:
        """The share of what the readers get that the layer's input explains (R^2), by a fit with few unknowns.

        Raises:
            Refused: The layer cannot be removed.
        """
        return max(0.0, 1.0 - self._plan(structure, calibration, taps=False).predicted_error ** 2)

    def _plan(self, structure: Structure, calibration: Calibration, *, taps: bool) -> Plan:
        site = site_of(structure.layer(self.layer))
        branch = branch_of(site)
        if branch is not None:
            return _without(structure, calibration, site, branch)
        try:
            width, units_left = _check(structure, site)
        except Refused as refusal:
            if not _nearly_identity(structure, site):
                raise refusal from None
            return _led_round(structure, calibration, site)
        round_it = _bypassing(site, width, units_left, structure)
        bypassed, (rewire,) = apply_edit(round_it), round_it.rewires
        prior = np.eye(width.size) if units_left == width.size else np.zeros((units_left, width.size))

        def instead(read: Read) -> Array:
            name = rewire.replacement if read.value == rewire.value else read.value
            return calibration.activations(bypassed, [name])[name]

        found = [refit(structure, width, (r,), calibration, instead, prior, taps=taps) for r in width.reads]
        values = {k: v for f in found for k, v in f.values.items()}
        lost = float(np.mean([f.lost for f in found]))
        edit = replace(round_it, values=values)
        places = tuple(p for f in found for p in f.places)
        reason = f"its input explains {1 - lost:.1%} of what its readers make of it"
        return Plan(edit, float(np.sqrt(lost)), reason, places if len(places) == len(found) else ())


def _bypassing(site: Site, width: Width, units: int, structure: Structure) -> Edit:
    """The readers are led to the layer's input, with weights that have the right shape and nothing else."""
    index = np.arange(units)
    # What the optimizer knows of other units says nothing about these.
    history = Select.of(index if units == width.size else np.full(units, -1))
    maps = (AxisMap(t, a, width.dim, Select.of(index % width.size), history) for t, a in width.readers)
    return Edit(structure, tuple(maps), rewires=(Rewire(str(site.value.name), str(site.layer.data.name)),))


def _without(structure: Structure, calibration: Calibration, site: Site, branch: Branch) -> Plan:
    """The branch gives its mean over the samples, one number a unit, or nothing at all where it gave nothing."""
    refuse_end(replace(site, value=branch.value))
    names = [str(v.name) for v in (branch.value, branch.total)]
    given, total = (calibration.finite(a) for a in calibration.activations(structure.model, names).values())
    axis = _units_axis(structure, site.layer, branch.value)
    around = tuple(k for k in range(given.ndim) if k != axis)
    mean = given.mean(around, keepdims=True)[0]
    signal = max(float(np.square(total).sum()), 1e-300)
    lost = float(np.square(given - mean).sum()) / signal
    gone = [x.name for x in structure.layers if _feeds_only(x.node, branch.value)]
    what = f"the residual branch of {len(gone)} layers" if len(gone) > 1 else "the residual branch"
    place = Place(names[1], names[1], np.zeros(1), -1)
    if float(np.square(given).sum()) <= _ROUNDING * signal:
        rewire = Rewire(names[1], str(branch.other.name))
        place = Place(names[1], rewire.replacement, np.zeros(1), -1)
        return Plan(Edit(structure, rewires=(rewire,)), float(np.sqrt(lost)), f"{what} gives nothing", (place,))
    name = Names(value_names(structure.model.ir.graph)).unique(f"{site.layer.name}.mean")
    edit = Edit(structure, added={name: mean.astype(np.float32)}, rewires=(Rewire(names[0], name),))
    return Plan(
        edit, float(np.sqrt(lost)), f"{what} goes, but for its mean, which leaves {1 - lost:.1%} of the sum", (place,)
    )


def _units_axis(structure: Structure, layer: Layer, value: ir.Value) -> int:
    """Where the units that a layer gives are along the axes of a value that is made of them, laid out anew perhaps."""
    axis = layer.units_axis % len(structure.constraints.resolved(layer.output))
    unit = structure.constraints.resolved(layer.output)[axis]
    terms = structure.constraints.resolved(value)
    likely = 1 if layer.on_images or len(terms) > 3 else len(terms) - 1
    return next((k for k, t in enumerate(terms) if t == unit), likely)


def _nearly_identity(structure: Structure, site: Site) -> bool:
    """Whether a layer gives more of what it takes than it adds to it, going by its weights and its activation."""
    before, after = (v.shape for v in (site.layer.data, site.value))
    if before is None or before != after or site.value.is_graph_output():
        return False
    if site.activation is not None and not idempotent(site.activation):
        return False
    try:
        form = form_of(structure, site.layer)
    except Refused:
        return False
    n = form.rows
    if form.columns % n:
        return False
    missing = weight_matrices(structure, site.layer, form).reshape(form.count, n, n, -1)
    missing[:, np.arange(n), np.arange(n), missing.shape[3] // 2] -= 1.0
    return bool(np.square(missing).sum() < n * form.count)


def _led_round(structure: Structure, calibration: Calibration, site: Site) -> Plan:
    """Everybody gets the layer's input as it is."""
    rewire = Rewire(str(site.value.name), str(site.layer.data.name))
    values = calibration.activations(structure.model, [rewire.value, rewire.replacement])
    given, instead = (calibration.finite(values[n]) for n in (rewire.value, rewire.replacement))
    lost = float(np.square(given - instead).sum()) / max(float(np.square(given).sum()), 1e-300)
    place = Place(rewire.value, rewire.replacement, np.zeros(1), -1)
    reason = f"it changes {lost:.1%} of what goes through it"
    return Plan(Edit(structure, rewires=(rewire,)), float(np.sqrt(lost)), reason, (place,))


def _feeds_only(node: ir.Node, value: ir.Value) -> bool:
    """Whether all that a node gives ends in one value."""
    waiting, seen = list(node.outputs), set()
    while waiting:
        current = waiting.pop()
        if current is value or current in seen:
            continue
        seen.add(current)
        uses = list(current.uses())
        if not uses or current.is_graph_output():
            return False
        waiting += [o for use in uses for o in use.node.outputs]
    return True


def _check(structure: Structure, site: Site) -> tuple[Width, int]:
    """The width that the layer writes and the number of units that its readers will get instead."""
    refuse_end(site)
    layer = site.layer
    source, target = sizes(layer.data), sizes(site.value)
    channel = layer.units_axis
    if source is None or target is None:
        message = f"layer {layer.name!r}: the shapes of its input and output are not known"
        raise Refused(message)
    # What is not known has a name, and what has another one is as a rule of another size.
    rest = [
        (a, b)
        for k, (a, b) in enumerate(zip(dims(layer.data), dims(site.value), strict=False))
        if k != channel % len(source)
    ]
    if len(source) != len(target) or any(a != b for a, b in rest):
        message = f"layer {layer.name!r} turns {shape_text(dims(layer.data))} into {shape_text(dims(site.value))}: only the number of units may change"
        raise Refused(message)
    units = source[channel]
    terms = structure.constraints.resolved(site.value)[channel]
    width = next((w for w in structure.widths if w.dim is terms), None)
    if width is None or units is None or not isinstance(terms, Dim):
        message = f"what layer {layer.name!r} writes is not one width"
        raise Refused(message)
    if not width.resizable:
        message = f"the readers of layer {layer.name!r} cannot be refitted: {width.reason}"
        raise Refused(message)
    own = {v.name for node in site.nodes for v in node.inputs if v is not None} | {layer.weight}
    others = [t for t, _ in width.writers if t not in own]
    if others:
        message = (
            f"layer {layer.name!r} writes a width that {others[0]!r} writes, too, so its input could not take its place"
        )
        raise Refused(message)
    if any(squared(structure.term(r.tensor, r.axis), width.dim) for r in width.reads):
        message = f"the units of layer {layer.name!r} are read in pairs, which no fit of each of them makes up for"
        raise Refused(message)
    tensors = structure.model.ir.graph.initializers
    again = next((t for t, _ in width.writers if count_uses(tensors[t]) > 1), None)
    if again is not None:
        message = f"layer {layer.name!r} writes a width that {again!r} writes in another place, too, so its input could not take its place"
        raise Refused(message)
    if len({(r.tensor, r.axis) for r in width.reads}) != len(width.reads):
        message = f"a reader of layer {layer.name!r} is used more than once"
        raise Refused(message)
    return width, units
