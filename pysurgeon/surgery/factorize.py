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
from pysurgeon.graph import Array
from pysurgeon.graph.layers import Layer
from pysurgeon.graph.names import Names, value_names
from pysurgeon.graph.widths import Structure
from pysurgeon.surgery.calibration import FOLDS, Calibration
from pysurgeon.surgery.edit import Edit, NodeSpec, Rewire
from pysurgeon.surgery.matrices import offset, units_axis, weight_matrix
from pysurgeon.surgery.operation import Operation, Place, Plan

# Samples for each unit beyond which directions hold as much of other samples as of those that they were found on.
MANY = 20


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
        layer, matrix = self._possible(structure)
        energy, directions = principal_directions(structure, layer, calibration)
        left = directions[:, : self.rank]
        right = left.T @ matrix
        balance = np.sqrt(np.maximum(np.linalg.norm(right, axis=1), 1e-12))
        edit = factored(structure, layer, left * balance, right / balance[:, None])
        error = float(np.sqrt(energy[self.rank :].sum() / max(energy.sum(), 1e-300)))
        place = Place(str(layer.output.name), edit.rewires[0].replacement, offset(structure, layer), units_axis(layer))
        reason = f"{1 - error**2:.1%} of the output's energy lies in {self.rank} directions"
        return Plan(edit, error, reason, (place,))

    def outline(self, structure: Structure, calibration: Calibration) -> Edit:  # noqa: ARG002 (any factors will do)
        """The factors are zero."""
        layer, matrix = self._possible(structure)
        return factored(structure, layer, np.zeros((len(matrix), self.rank)), np.zeros((self.rank, matrix.shape[1])))

    def _possible(self, structure: Structure) -> tuple[Layer, Array]:
        """The layer and its weight as a matrix.

        Raises:
            Refused: It cannot be factorized, or not with this rank.
        """
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
        return layer, matrix


def largest_rank(shape: tuple[int, ...]) -> int:
    """The largest rank r with `r (m + n) < m n`, so that factors are smaller than the matrix."""
    m, n = shape
    return max(0, (m * n - 1) // (m + n))


def principal_directions(structure: Structure, layer: Layer, calibration: Calibration) -> tuple[Array, Array]:
    """Energies (descending) and directions of what a layer gives before its bias: float64 (M,) and (M, M)."""
    key = ("directions", layer.name)
    return calibration.kept(structure.model, key, lambda: _principal_directions(structure, layer, calibration))


def _principal_directions(structure: Structure, layer: Layer, calibration: Calibration) -> tuple[Array, Array]:
    name = str(layer.output.name)
    output = calibration.activations(structure.model, [name])[name]
    moved = np.moveaxis(output, units_axis(layer), -1).reshape(-1, output.shape[units_axis(layer)])
    chosen = calibration.chosen(len(moved))
    rows = calibration.finite(moved[chosen]) - offset(structure, layer)
    folds = calibration.folds(len(moved))[chosen]
    grams = [rows[folds == f].T @ rows[folds == f] for f in range(FOLDS)]
    gram = np.sum(grams, axis=0)
    values, vectors = np.linalg.eigh(gram)
    energy = values[::-1]
    if len(rows) < MANY * len(gram):
        # Directions found on some samples hold less of others. What they hold of those is what a factorized layer will keep.
        energy = sum((_energy_along(gram - g, g) for g in grams), np.zeros(len(gram)))
    return np.maximum(energy, 0.0) / max(1, len(rows)), vectors[:, ::-1]


def _energy_along(seen: Array, unseen: Array) -> Array:
    """The energy of unseen samples along the principal directions of seen ones, descending by those."""
    _, vectors = np.linalg.eigh(seen)
    return np.asarray(np.einsum("ij,ij->j", vectors, unseen @ vectors)[::-1])


def factored(structure: Structure, layer: Layer, left: Array, right: Array) -> Edit:
    """`left` (M, r) after `right` (r, K)."""
    node, rank = layer.node, left.shape[1]
    names, layer_names = Names(value_names(structure.model.ir.graph)), Names(x.name for x in structure.layers)
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
