r"""Remove a layer: its readers are refitted on the removed layer's *input*.

Let u be what goes into the layer and v what comes out of its activation. Readers get u instead of v; their weights become
`W B`, where B is the ridge least squares fit `v ~ B u + c` on the calibration batch, as each reader sees the two; c is for
readers with a bias that takes it up. Exact when the layer was linear. The share of v that the fit explains (R^2) ranks the sites.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pysurgeon.errors import Refused
from pysurgeon.graph import Array, sizes
from pysurgeon.graph.terms import Dim
from pysurgeon.graph.widths import Structure, Width
from pysurgeon.surgery._biases import bias_of, with_constant
from pysurgeon.surgery._sites import Site, refuse_end, site_of
from pysurgeon.surgery.apply import apply_edit
from pysurgeon.surgery.calibration import Calibration
from pysurgeon.surgery.edit import AxisMap, Dense, Edit, Rewire, Select, units
from pysurgeon.surgery.elimination import ridged
from pysurgeon.surgery.operation import Operation, Plan


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
        """Lead the readers to the layer's input and refit them."""
        site = site_of(structure.layer(self.layer))
        width, units_left = _check(structure, site)
        rewire = Rewire(str(site.value.name), str(site.layer.data.name))
        # Any map of the right shape will do to look at what the readers get once the layer is gone.
        probe = Select.of(np.arange(units_left) % width.size)
        maps = [AxisMap(t, a, width.dim, probe) for t, a in width.readers]
        bypassed = apply_edit(Edit(structure, tuple(maps), rewires=(rewire,)))
        fitted, values, losses, signals = [], {}, 0.0, 0.0
        for read in width.reads:
            before = calibration.rows(structure, read, width.dim)
            name = rewire.replacement if read.value == rewire.value else read.value
            activation = calibration.activations(bypassed, [name])[name]
            # The reader finds the units of the input laid out as those of the output were.
            term = structure.value_term(read.value, read.value_axis)
            after = calibration.sample(units(activation, read.value_axis, term, width.dim, {width.dim: units_left}))
            bias = bias_of(structure, width, read)
            b, constant, loss = _fit(after, before, affine=bias is not None)
            if bias is not None:
                values[bias] = with_constant(structure, width, read, bias, constant)
            fitted.append(AxisMap(read.tensor, read.axis, width.dim, Dense(b.astype(np.float32))))
            losses, signals = losses + loss, signals + float(np.square(before).sum())
        unexplained = losses / max(signals, 1e-300)
        edit = Edit(structure, tuple(fitted), values=values, rewires=(rewire,))
        return Plan(edit, float(np.sqrt(unexplained)), f"its input explains {1 - unexplained:.1%} of what it gives")


def _check(structure: Structure, site: Site) -> tuple[Width, int]:
    """The width that the layer writes and the number of units that its readers will get instead."""
    refuse_end(site)
    layer = site.layer
    source, target = sizes(layer.data), sizes(site.value)
    channel = 1 if layer.operator == "Conv" else -1
    if source is None or target is None or len(source) != len(target):
        message = f"layer {layer.name!r}: the shapes of its input and output are not known"
        raise Refused(message)
    rest = [(a, b) for k, (a, b) in enumerate(zip(source, target, strict=True)) if k != channel % len(source)]
    if any(a != b for a, b in rest):
        message = (
            f"layer {layer.name!r} turns {_text(source)} into {_text(target)}: only the number of units may change"
        )
        raise Refused(message)
    units = source[channel]
    terms = structure.inference.resolved(site.value)[channel]
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
    if len({(r.tensor, r.axis) for r in width.reads}) != len(width.reads):
        message = f"a reader of layer {layer.name!r} is used more than once"
        raise Refused(message)
    return width, units


def _fit(source: Array, target: Array, *, affine: bool) -> tuple[Array, Array, float]:
    """Ridge least squares `target ~ source B' + c`, c = 0 unless affine.

    Returns:
        B' as (m, n), which maps readers of n units to readers of m; c (n,); the sum of squares that is left.
    """
    means = (source.mean(0), target.mean(0)) if affine else (np.zeros(source.shape[1]), np.zeros(target.shape[1]))
    centred, wanted = source - means[0], target - means[1]
    b = np.linalg.solve(ridged(centred.T @ centred / len(source)), centred.T @ wanted / len(source))
    return b, means[1] - means[0] @ b, float(np.square(wanted - centred @ b).sum())


def _text(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("?" if d is None else str(d) for d in shape) + ")"
