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
from pysurgeon.graph.inference import Read
from pysurgeon.graph.terms import Dim
from pysurgeon.graph.widths import Structure, Width
from pysurgeon.surgery._refit import refit
from pysurgeon.surgery._sites import Site, refuse_end, site_of
from pysurgeon.surgery.apply import apply_edit
from pysurgeon.surgery.calibration import Calibration
from pysurgeon.surgery.edit import AxisMap, Edit, Rewire, Select
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
        # What the optimizer knows of other units says nothing about these.
        history = Select.of(probe.index if units_left == width.size else np.full(units_left, -1))
        maps = [AxisMap(t, a, width.dim, probe, history) for t, a in width.readers]
        bypassed = apply_edit(Edit(structure, tuple(maps), rewires=(rewire,)))
        prior = np.eye(width.size) if units_left == width.size else np.zeros((units_left, width.size))

        def instead(read: Read) -> Array:
            name = rewire.replacement if read.value == rewire.value else read.value
            return calibration.activations(bypassed, [name])[name]

        found = [refit(structure, width, (r,), calibration, instead, prior) for r in width.reads]
        values = {k: v for f in found for k, v in f.values.items()}
        lost = float(np.mean([f.lost for f in found]))
        edit = Edit(structure, tuple(maps), values=values, rewires=(rewire,))
        places = tuple(p for f in found for p in f.places)
        reason = f"its input explains {1 - lost:.1%} of what its readers make of it"
        return Plan(edit, float(np.sqrt(lost)), reason, places if len(places) == len(found) else ())


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


def _text(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("?" if d is None else str(d) for d in shape) + ")"
