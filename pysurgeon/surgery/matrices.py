"""A layer as the matrix that it multiplies with, and what it adds."""

from __future__ import annotations

import numpy as np

from pysurgeon.errors import Refused
from pysurgeon.graph import Array, count_uses
from pysurgeon.graph.layers import Layer
from pysurgeon.graph.widths import Structure


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
    if layer.operator == "Conv" and layer.node.attributes.get_int("group", 1) != 1:
        message = f"layer {layer.name!r} is a grouped convolution, which is a block matrix already"
        raise Refused(message)
    if layer.operator != "Conv" and weight.ndim != 2:
        message = f"the weight of layer {layer.name!r} has {weight.ndim} axes; only matrices can be factorized"
        raise Refused(message)
    return as_matrix(structure, layer, weight).astype(np.float64)


def as_matrix(structure: Structure, layer: Layer, weight: Array) -> Array:
    """An array laid out as a layer's weight is, as (outputs, inputs times taps)."""
    return weight.reshape(len(weight), -1) if outputs_first(structure, layer) else weight.T


def as_weight(structure: Structure, layer: Layer, matrix: Array, shape: tuple[int, ...]) -> Array:
    """The other way: the weight of this shape that a matrix stands for, float32."""
    return np.asarray(matrix.reshape(shape) if outputs_first(structure, layer) else matrix.T, np.float32)


def outputs_first(structure: Structure, layer: Layer) -> bool:
    """Whether the weight's second axis is the contracted one, transpositions on the way to the node considered."""
    return layer.operator == "Conv" or any(r.tensor == layer.weight and r.axis == 1 for r in structure.inference.reads)


def units_axis(layer: Layer) -> int:
    """The axis of what a layer gives, and of what it takes, that its matrix runs along."""
    if layer.operator == "Conv":
        return 1
    return -2 if layer.operator == "MatMul" and layer.weight_position == 0 else -1


def offset(structure: Structure, layer: Layer) -> Array:
    """What a layer's own node adds to every unit: float64 (outputs,), or (1,) where it is the same for all of them."""
    if layer.bias is None:
        return np.zeros(1)
    bias = structure.model.tensor(layer.bias).astype(np.float64).reshape(-1)
    return np.asarray(bias * float(layer.node.attributes.get_float("beta", 1.0)))
