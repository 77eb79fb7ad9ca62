r"""Factorize: one layer of rank r in two steps, with the least error of the *output*.

Minimising `|(W - A B) X|` over A (M, r), B (r, K) is a truncated SVD of W whitened by the Gram matrix of the input X. Its left
factor spans the leading principal directions U of the outputs `Y = W X`, and the best B is `U' W`. So all that is needed is the
Gram matrix of the outputs, for dense layers and convolutions alike. The factors are balanced: row i of B and column i of A get
the same norm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pysurgeon.errors import Refused
from pysurgeon.graph import Array, count_uses
from pysurgeon.graph.layers import Layer, Names, value_names
from pysurgeon.graph.widths import Structure
from pysurgeon.surgery.calibration import Calibration
from pysurgeon.surgery.edit import Edit, NodeSpec, Rewire
from pysurgeon.surgery.operation import Operation, Plan


@dataclass(frozen=True)
class Factorize(Operation):
    """Replace a layer by two with `rank` units between them.

    Attributes:
        layer: Name of the layer.
        rank: Number of units between the factors.
    """

    kind: ClassVar[str] = "factorize"
    exact: ClassVar[bool] = False

    layer: str
    rank: int

    @property
    def site(self) -> str:
        """The layer."""
        return self.layer

    def __str__(self) -> str:
        return f"factorize:{self.layer}={self.rank}"

    def plan(self, structure: Structure, calibration: Calibration) -> Plan:
        """Principal directions of the layer's output on the calibration batch."""
        layer = structure.layer(self.layer)
        matrix = weight_matrix(structure, layer)
        largest = largest_rank(matrix.shape)
        if not 1 <= self.rank <= largest:
            message = (
                f"layer {self.layer!r} is a {matrix.shape[0]} x {matrix.shape[1]} matrix: factors save something for ranks "
                f"1..{largest}, not for {self.rank}"
                if largest
                else f"layer {self.layer!r} is a {matrix.shape[0]} x {matrix.shape[1]} matrix, too small for factors to save"
            )
            raise Refused(message)
        energy, directions = principal_directions(structure, layer, calibration)
        left = directions[:, : self.rank]
        right = left.T @ matrix
        balance = np.sqrt(np.maximum(np.linalg.norm(right, axis=1), 1e-12))
        edit = _edit(structure, layer, left * balance, right / balance[:, None])
        error = float(np.sqrt(energy[self.rank :].sum() / max(energy.sum(), 1e-300)))
        return Plan(edit, error, f"{1 - error**2:.1%} of the output's energy lies in {self.rank} directions")


def weight_matrix(structure: Structure, layer: Layer) -> Array:
    """The weight of a layer as a float64 matrix (outputs, inputs times taps).

    Raises:
        Refused: It is a grouped convolution, or not a plain matrix of the layer's own.
    """
    weight = structure.model.tensor(layer.weight)
    if weight.dtype != np.float32:
        message = f"the weight of layer {layer.name!r} is {weight.dtype}, not float32"
        raise Refused(message)
    if count_uses(structure.model.ir.graph.initializers[layer.weight]) > 1:
        message = (
            f"the weight of layer {layer.name!r} is used elsewhere, too, so factors of this use would save nothing"
        )
        raise Refused(message)
    if layer.bias is None and len(layer.node.inputs) > 2 and layer.node.inputs[2] is not None:
        message = f"the bias of layer {layer.name!r} is computed"
        raise Refused(message)
    if layer.operator == "Gemm" and (
        layer.node.attributes.get_int("transA", 0) == 1 or layer.node.attributes.get_float("alpha", 1.0) != 1.0
    ):
        message = f"layer {layer.name!r} transposes or scales its input inside Gemm"
        raise Refused(message)
    if layer.operator == "Conv":
        if layer.node.attributes.get_int("group", 1) != 1:
            message = f"layer {layer.name!r} is a grouped convolution, which is a block matrix already"
            raise Refused(message)
        return weight.reshape(weight.shape[0], -1).astype(np.float64)
    if weight.ndim != 2:
        message = f"the weight of layer {layer.name!r} has {weight.ndim} axes; only matrices can be factorized"
        raise Refused(message)
    return (weight if _outputs_first(structure, layer) else weight.T).astype(np.float64)


def largest_rank(shape: tuple[int, ...]) -> int:
    """The largest rank r with `r (m + n) < m n`, so that factors are smaller than the matrix."""
    m, n = shape
    return max(0, (m * n - 1) // (m + n))


def principal_directions(structure: Structure, layer: Layer, calibration: Calibration) -> tuple[Array, Array]:
    """Energies (descending) and directions of what a layer gives before its bias: float64 (M,) and (M, M)."""
    key = ("directions", layer.name)
    return calibration.kept(structure.model, key, lambda: _principal_directions(structure, layer, calibration))


def _principal_directions(structure: Structure, layer: Layer, calibration: Calibration) -> tuple[Array, Array]:
    output = calibration.activations(structure.model, [str(layer.output.name)])[str(layer.output.name)]
    weight_is_left = layer.operator == "MatMul" and layer.weight_position == 0
    channel = 1 if layer.operator == "Conv" else (-2 if weight_is_left else -1)
    rows = calibration.sample(np.moveaxis(output, channel, -1).reshape(-1, output.shape[channel]))
    if layer.bias is not None:
        bias = structure.model.tensor(layer.bias)
        if bias.size in (1, rows.shape[1]):
            rows = rows - float(layer.node.attributes.get_float("beta", 1.0)) * bias.reshape(-1)
    values, vectors = np.linalg.eigh(rows.T @ rows / max(1, len(rows)))
    return np.maximum(values[::-1], 0.0), vectors[:, ::-1]


def _outputs_first(structure: Structure, layer: Layer) -> bool:
    """Whether the weight's second axis is the contracted one, transpositions on the way to the node considered."""
    return any(r.tensor == layer.weight and r.axis == 1 for r in structure.inference.reads)


def _edit(structure: Structure, layer: Layer, left: Array, right: Array) -> Edit:
    """`left` (M, r) after `right` (r, K)."""
    node, rank = layer.node, left.shape[1]
    names, layer_names = Names(value_names(structure.model.ir)), Names(x.name for x in structure.layers)
    first, second = (layer_names.unique(f"{layer.name}.{part}") for part in ("reduce", "expand"))
    first_weight, second_weight = names.unique(f"{first}.weight"), names.unique(f"{second}.weight")
    middle, output = names.unique(f"{first}/{node.op_type}"), names.unique(f"{second}/{node.op_type}")
    data = str(layer.data.name)
    bias = (layer.bias,) if layer.bias is not None else ()
    if layer.operator == "Conv":
        taps = structure.model.tensor(layer.weight).shape[2:]
        first_array = right.reshape(rank, -1, *taps)
        second_array = left.reshape(*left.shape, *(1 for _ in taps))
        nodes = (
            NodeSpec("Conv", (data, first_weight), middle, dict(node.attributes)),
            NodeSpec("Conv", (middle, second_weight, *bias), output, {"kernel_shape": [1 for _ in taps]}),
        )
    elif layer.operator == "Gemm":
        first_array, second_array = right, left
        scale = {"beta": node.attributes.get_float("beta", 1.0)} if bias else {}
        nodes = (
            NodeSpec("Gemm", (data, first_weight), middle, {"transB": 1}),
            NodeSpec("Gemm", (middle, second_weight, *bias), output, {"transB": 1, **scale}),
        )
    elif layer.weight_position == 1:
        first_array, second_array = right.T, left.T
        nodes = (
            NodeSpec("MatMul", (data, first_weight), middle),
            NodeSpec("MatMul", (middle, second_weight), output),
        )
    else:
        first_array, second_array = right, left
        nodes = (
            NodeSpec("MatMul", (first_weight, data), middle),
            NodeSpec("MatMul", (second_weight, middle), output),
        )
    added = {first_weight: first_array.astype(np.float32), second_weight: second_array.astype(np.float32)}
    return Edit(structure, added=added, nodes=nodes, rewires=(Rewire(str(node.outputs[0].name), output),))
