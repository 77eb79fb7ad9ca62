r"""Insert a layer that changes nothing yet.

Behind an idempotent activation (relu(relu(x)) = relu(x)) an identity layer with the same activation does: a dense layer with
the identity matrix, a convolution with the delta kernel (one in the middle tap, not ones everywhere). Behind any other value x it
is a residual branch whose last weight is zero, `x + Z relu(V x)` with Z = 0 (Fixup, Zhang et al. 2019; Bachlechner et al. 2021):
exact for every activation, and Z gets a gradient at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pysurgeon.errors import Refused
from pysurgeon.graph import Array, constant, sizes
from pysurgeon.graph.layers import Names, value_names
from pysurgeon.graph.widths import Structure
from pysurgeon.surgery._sites import Site, idempotent, refuse_end, site_of
from pysurgeon.surgery.calibration import Calibration
from pysurgeon.surgery.edit import Edit, NodeSpec, Rewire
from pysurgeon.surgery.operation import Operation, Plan


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

    def plan(self, structure: Structure, calibration: Calibration) -> Plan:  # noqa: ARG002 (exact: needs no samples)
        """Add the nodes and let all users of the layer's value use theirs."""
        site = site_of(structure.layer(self.layer))
        builder = _Builder(structure, site, np.random.default_rng([self.seed, 1]))
        if idempotent(site.activation):
            assert site.activation is not None
            output = builder.activation(site.activation, builder.linear(str(site.value.name), "identity", ".next"))
            reason = "an identity layer behind an idempotent activation"
        else:
            hidden = builder.linear(str(site.value.name), "random", ".branch1")
            hidden = builder.node("Relu", (hidden,))
            branch = builder.linear(hidden, "zero", ".branch2")
            output = builder.node("Add", (str(site.value.name), branch))
            reason = "a residual branch that starts at zero"
        rewire = Rewire(str(site.value.name), output)
        edit = Edit(structure, added=builder.added, nodes=tuple(builder.nodes), rewires=(rewire,))
        return Plan(edit, 0.0, reason)


class _Builder:
    """Collects new nodes and tensors with names that are free."""

    def __init__(self, structure: Structure, site: Site, rng: np.random.Generator) -> None:
        refuse_end(site)
        shape = sizes(site.value)
        assert shape is not None
        self.channel = 1 if site.layer.operator == "Conv" else len(shape) - 1
        units = shape[self.channel]
        if units is None or len(shape) < 2:
            message = f"behind {site.layer.name!r} the number of units is not known"
            raise Refused(message)
        if structure.model.tensor(site.layer.weight).dtype != np.float32:
            message = f"the weight of {site.layer.name!r} is not float32"
            raise Refused(message)
        self.site, self.units, self.rank, self._rng = site, units, len(shape), rng
        self.kernel = self._kernel(structure)
        self.added: dict[str, Array] = {}
        self.nodes: list[NodeSpec] = []
        self._names = Names(value_names(structure.model.ir))
        self._layer_names = Names(x.name for x in structure.layers)

    def linear(self, source: str, weights: str, suffix: str) -> str:
        """A layer of the site's kind from all units to as many; `weights` is identity, random or zero."""
        name = self._layer_names.unique(self.site.layer.name + suffix)
        n = self.units
        if weights == "identity":
            matrix = np.eye(n, dtype=np.float32)
        elif weights == "zero":
            matrix = np.zeros((n, n), np.float32)
        else:
            fan_in = n * int(np.prod(self.kernel))
            matrix = (self._rng.standard_normal((n, n)) * np.sqrt(2.0 / fan_in)).astype(np.float32)
        weight, bias = self._names.unique(f"{name}.weight"), self._names.unique(f"{name}.bias")
        self.added[bias] = np.zeros(n, np.float32)
        if self.site.layer.operator == "Conv":
            self.added[weight] = self._taps(matrix, weights)
            pads = [k // 2 for k in self.kernel]
            return self.node(
                "Conv", (source, weight, bias), {"kernel_shape": list(self.kernel), "pads": pads + pads}, name
            )
        if self.rank == 2:
            self.added[weight] = matrix.T.copy()
            return self.node("Gemm", (source, weight, bias), {"transB": 1}, name)
        self.added[weight] = matrix
        return self.node("Add", (self.node("MatMul", (source, weight), name=name), bias))

    def activation(self, model: Any, source: str) -> str:
        """The same activation as that node's."""
        operands: list[str] = []
        for operand in model.inputs[1:]:
            if operand is None:
                operands.append("")
            else:
                name = self._names.unique(f"{operand.name}_copy")
                values = constant(operand)
                assert values is not None
                self.added[name] = values
                operands.append(name)
        while operands and operands[-1] == "":
            operands.pop()
        return self.node(model.op_type, (source, *operands), dict(model.attributes))

    def node(self, operator: str, inputs: tuple[str, ...], attributes: Any = None, name: str | None = None) -> str:
        """Add a node; returns the name of its output."""
        output = self._names.unique(f"{name or self.site.layer.name}/{operator}")
        self.nodes.append(NodeSpec(operator, inputs, output, attributes or {}))
        return output

    def _kernel(self, structure: Structure) -> tuple[int, ...]:
        if self.site.layer.operator != "Conv":
            return ()
        taps = structure.model.tensor(self.site.layer.weight).shape[2:]
        return tuple(3 if t > 1 else 1 for t in taps)

    def _taps(self, matrix: Array, weights: str) -> Array:
        n = self.units
        if weights == "random":
            spread = float(matrix.std()) or 1.0
            return (self._rng.standard_normal((n, n, *self.kernel)) * spread).astype(np.float32)
        taps = np.zeros((n, n, *self.kernel), np.float32)
        middle = int(np.ravel_multi_index([k // 2 for k in self.kernel], self.kernel))
        taps.reshape(n, n, -1)[:, :, middle] = matrix
        return taps
