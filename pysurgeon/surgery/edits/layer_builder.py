"""New layers: collects nodes and tensors with names that are free, until they become an edit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from pysurgeon.graph import Array, constant
from pysurgeon.graph.names import Names, value_names
from pysurgeon.surgery.edits.edit import Edit, NodeSpec, Rewire
from pysurgeon.widths.structure import Structure


class LayerBuilder:
    """Builds layers for a model.

    Args:
        structure: Of the model.
    """

    def __init__(self, structure: Structure) -> None:
        self._structure = structure
        self._added: dict[str, Array] = {}
        self._nodes: list[NodeSpec] = []
        self._names = Names(value_names(structure.model.ir.graph))
        self._layer_names = Names(x.name for x in structure.layers)

    def edit(self, *rewires: Rewire) -> Edit:
        """What was built, with whoever uses a value led to what takes its place."""
        return Edit(self._structure, added=self._added, nodes=tuple(self._nodes), rewires=rewires)

    def layer_name(self, wanted: str) -> str:
        """A name for a layer that no other has."""
        return self._layer_names.unique(wanted)

    def tensor(self, wanted: str, array: Array) -> str:
        """Add an initializer; returns its name."""
        name = self._names.unique(wanted)
        self._added[name] = array
        return name

    def node(self, operator: str, inputs: Sequence[str], name: str, attributes: Mapping[str, Any] | None = None) -> str:
        """Add a node of the layer `name`; returns the name of its output."""
        (output,) = self.results(operator, inputs, name, attributes or {}, [True])
        return output

    def results(
        self, operator: str, inputs: Sequence[str], name: str, attributes: Mapping[str, Any], wanted: Sequence[bool]
    ) -> tuple[str, ...]:
        """Add a node of several results; returns their names, empty ones for those that are not wanted."""
        outputs = tuple(self._names.unique(f"{name}/{operator}") if w else "" for w in wanted)
        self._nodes.append(NodeSpec(operator, tuple(inputs), outputs[0], attributes, outputs[1:]))
        return outputs

    def convolution(
        self, source: str, name: str, taps: Array, *, bias: bool = True, strides: Sequence[int] | None = None
    ) -> str:
        """A convolution that keeps the size of the image, or divides it by the strides.

        Args:
            source: What it takes.
            name: Of the layer.
            taps: float (outputs, inputs, *kernel), all sizes of the kernel odd.
            bias: Whether there is one; it starts at zero.
            strides: One everywhere where `None`.
        """
        kernel = taps.shape[2:]
        pads = [k // 2 for k in kernel]
        attributes: dict[str, Any] = {"kernel_shape": list(kernel), "pads": pads + pads}
        if strides is not None and any(s != 1 for s in strides):
            attributes["strides"] = list(strides)
        return self.node("Conv", [source, *self._parameters(name, taps, len(taps), bias=bias)], name, attributes)

    def dense(self, source: str, name: str, matrix: Array, rank: int, *, bias: bool = True) -> str:
        """A dense layer along the last axis.

        Args:
            source: What it takes.
            name: Of the layer.
            matrix: float (outputs, inputs).
            rank: Number of axes of what it takes.
            bias: Whether there is one; it starts at zero.
        """
        if rank == 2 and bias:
            parameters = self._parameters(name, matrix, len(matrix), bias=True)
            return self.node("Gemm", [source, *parameters], name, {"transB": 1})
        weight, *rest = self._parameters(name, matrix.T, len(matrix), bias=bias)
        product = self.node("MatMul", [source, weight], name)
        return self.node("Add", [product, *rest], name) if rest else product

    def activation(self, like: ir.Node, source: str, name: str) -> str:
        """The same activation as that node's."""
        operands: list[str] = []
        for operand in like.inputs[1:]:
            values = None if operand is None else constant(operand)
            assert (values is None) == (operand is None)
            operands.append("" if operand is None or values is None else self.tensor(f"{operand.name}_copy", values))
        while operands and operands[-1] == "":
            operands.pop()
        return self.node(like.op_type, [source, *operands], name, dict(like.attributes))

    def _parameters(self, name: str, weight: Array, outputs: int, *, bias: bool) -> list[str]:
        added = [self.tensor(f"{name}.weight", np.ascontiguousarray(weight, dtype=np.float32))]
        if bias:
            added.append(self.tensor(f"{name}.bias", np.zeros(outputs, np.float32)))
        return added


def random_weights(rng: np.random.Generator, outputs: int, inputs: int, kernel: Sequence[int]) -> Array:
    """Weights that keep the scale of rectified units (He et al. 2015): float32 (outputs, inputs, *kernel)."""
    spread = np.sqrt(2.0 / max(1, inputs * int(np.prod(kernel))))  # of nothing, there are no weights
    return np.asarray(rng.standard_normal((outputs, inputs, *kernel)) * spread, np.float32)
