r"""Insert a layer that changes nothing yet.

Behind an idempotent activation (relu(relu(x)) = relu(x)) an identity layer with the same activation does: a dense layer with
the identity matrix, a convolution with the delta kernel (one in the middle tap, not ones everywhere). Behind any other value x it
is a residual branch whose last weight is zero, `x + Z relu(V x)` with Z = 0 (Fixup, Zhang et al. 2019; Bachlechner et al. 2021):
exact for every activation, and Z gets a gradient at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pysurgeon.errors import Refused
from pysurgeon.graph import Array, sizes
from pysurgeon.surgery.calibration import Calibration
from pysurgeon.surgery.edits.edit import Rewire
from pysurgeon.surgery.edits.layer_builder import LayerBuilder, random_weights
from pysurgeon.surgery.layers.blocks import Site, idempotent, refuse_end, site_of
from pysurgeon.surgery.operation import Operation, Plan
from pysurgeon.surgery.operations.remove_layer import RemoveLayer
from pysurgeon.widths.structure import Structure

_MOST_WEIGHTS = 2**31  # what a message of the format can hold is a quarter of it


@dataclass(frozen=True)
class InsertLayer(Operation):
    """Insert a layer of the same kind behind a layer and its activation.

    Attributes:
        layer: Name of the layer.
        seed: For the random weights of a residual branch.
    """

    kind: ClassVar[str] = "insert"
    exact: ClassVar[bool] = True

    layer: str
    seed: int = 0

    @property
    def site(self) -> str:
        """The layer."""
        return self.layer

    def __str__(self) -> str:
        return f"insert:{self.layer}"

    def plan(self, structure: Structure, calibration: Calibration) -> Plan:
        """Add the nodes and let all users of the layer's value use theirs."""
        site = site_of(structure.layer(self.layer))
        refuse_end(site)
        units, rank, kernel = _form(structure, site)
        calibration.nothing_in_the_way()
        builder, value = LayerBuilder(structure), str(site.value.name)

        def linear(source: str, name: str, taps: Array) -> str:
            if site.layer.on_images:
                return builder.convolution(source, name, taps)
            return builder.dense(source, name, taps, rank)

        if idempotent(site.activation):
            assert site.activation is not None
            name = last = builder.layer_name(f"{site.layer.name}.next")
            output = builder.activation(site.activation, linear(value, name, _identity(units, kernel)), name)
            reason = "an identity layer behind an idempotent activation"
        else:
            name, last = (builder.layer_name(f"{site.layer.name}.branch{k}") for k in (1, 2))
            weights = random_weights(np.random.default_rng([self.seed, 1]), units, units, kernel)
            hidden = builder.node("Relu", [linear(value, name, weights)], name)
            branch = linear(hidden, last, np.zeros((units, units, *kernel), np.float32))
            output = builder.node("Add", [value, branch], last)
            reason = "a residual branch that starts at zero"
        return Plan(builder.edit(Rewire(value, output)), 0.0, reason, undo=RemoveLayer(last))


def _form(structure: Structure, site: Site) -> tuple[int, int, tuple[int, ...]]:
    """Units of what a site gives, its number of axes, and the kernel of a layer behind it."""
    shape = sizes(site.value)
    assert shape is not None
    units = shape[1 if site.layer.on_images else -1] if len(shape) > 1 else None
    if units is None:
        message = f"behind {site.layer.name!r} the number of units is not known"
        raise Refused(message)
    weight = structure.model.tensor(site.layer.weight)
    if weight.dtype != np.float32:
        message = f"the weight of {site.layer.name!r} is {weight.dtype}, not float32"
        raise Refused(message)
    kernel = tuple(3 if t > 1 else 1 for t in weight.shape[2:]) if site.layer.on_images else ()
    if units**2 * int(np.prod(kernel)) > _MOST_WEIGHTS:
        message = f"behind {site.layer.name!r} are {units:,} units, and a layer from all to all would have {units**2:,} weights"
        raise Refused(message)
    return units, len(shape), kernel


def _identity(units: int, kernel: tuple[int, ...]) -> Array:
    """The identity as a dense weight, or as a kernel with one in its middle tap: float32 (units, units, *kernel)."""
    taps = np.zeros((units, units, int(np.prod(kernel))), np.float32)
    taps[np.arange(units), np.arange(units), taps.shape[2] // 2] = 1.0  # all sizes are odd
    return taps.reshape(units, units, *kernel)
