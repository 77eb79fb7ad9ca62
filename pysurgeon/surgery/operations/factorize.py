r"""Factorize: one layer of rank r in two steps, with the least error of the *output*.

Minimising `|(W - A B) X|` over A (M, r), B (r, K) is a truncated SVD of W whitened by the Gram matrix of the input X. Its left
factor spans the leading principal directions U of the outputs `Y = W X`, and the best B is `U' W`. So all that is needed is a Gram
matrix: that of the outputs, whatever the layer is; or that of the inputs, C, where these are fewer or nobody sees the outputs. With
`C = R R'`, U spans the leading left singular vectors of `W R`. The factors are balanced: row i of B and column i of A get the same
norm. Where a layer is several matrices (see `matrices`) each has factors of its own, all of them of the same rank.

Of an embedding the inputs are tokens: the outputs count each as often as it occurs on the calibration batch. What does not occur
there may occur elsewhere, so every token counts half a time more (Krichevsky and Trofimov, IEEE Trans. Inf. Theory 27, 1981).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from pysurgeon.errors import Refused
from pysurgeon.graph import Array
from pysurgeon.model.layers import Layer
from pysurgeon.surgery.calibration import FOLDS, Calibration
from pysurgeon.surgery.edits.edit import Edit, Rewire
from pysurgeon.surgery.edits.layer_builder import LayerBuilder
from pysurgeon.surgery.layers.weight_matrices import Form, arranged, form_of, free_letter, offset, weight_matrices
from pysurgeon.surgery.operation import Operation, Place, Plan
from pysurgeon.widths.structure import Structure

# Samples for each unit beyond which directions hold as much of other samples as of those that they were found on.
MANY = 20
# The weight of inputs that were not seen, against those that were: it decides only where these leave directions undetermined.
UNSEEN = 1e-6


@dataclass(frozen=True)
class Factorize(Operation):
    """Replace a layer by two with `rank` units between them.

    Attributes:
        layer: Name of the layer.
        rank: Number of units between the factors, in each group where the layer has groups.
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
        layer, form = self._possible(structure)
        found = principal_directions(structure, layer, calibration)
        matrices = weight_matrices(structure, layer, form)
        left = found.directions[:, :, : self.rank]
        right = left.transpose(0, 2, 1) @ matrices
        balance = np.sqrt(np.maximum(np.linalg.norm(right, axis=2), 1e-12))
        left, right = left * balance[:, None], right / balance[:, :, None]
        edit = factored(structure, layer, left, right)
        error = found.error(self.rank)
        where = f"{self.rank} directions" + (f" of each of {form.count} groups" if form.count > 1 else "")
        reason = f"{1 - error**2:.1%} of the output's energy lies in {where}"
        return Plan(edit, error, reason, (_place(structure, layer, form, edit, matrices[0], left[0]),))

    def outline(self, structure: Structure, calibration: Calibration) -> Edit:  # noqa: ARG002 (any factors will do)
        """The factors are zero."""
        layer, form = self._possible(structure)
        left, right = (form.count, form.rows, self.rank), (form.count, self.rank, form.columns)
        return factored(structure, layer, np.zeros(left, np.float32), np.zeros(right, np.float32))

    def _possible(self, structure: Structure) -> tuple[Layer, Form]:
        """The layer and how it multiplies.

        Raises:
            Refused: It cannot be factorized, or not with this rank.
        """
        layer = structure.layer(self.layer)
        form = form_of(structure, layer)
        largest = largest_rank((form.rows, form.columns))
        if not 1 <= self.rank <= largest:
            many = f"{form.count} matrices, each" if form.count > 1 else "a matrix"
            what = f"layer {self.layer!r} is {many} {form.rows} x {form.columns}"
            message = (
                f"{what}: factors save something for ranks 1..{largest}, not for {self.rank}"
                if largest
                else f"{what}, too small for factors to save"
            )
            raise Refused(message)
        return layer, form


def largest_rank(shape: tuple[int, ...]) -> int:
    """The largest rank r with `r (m + n) < m n`, so that factors are smaller than the matrix."""
    m, n = shape
    return max(0, (m * n - 1) // max(1, m + n))


@dataclass(frozen=True)
class Directions:
    """Principal directions of what a layer gives before its bias, of each of its matrices.

    Attributes:
        energy: What the k-th directions of all matrices hold of a sample, float64 (k,): descending, but for what was seen on other samples.
        directions: float64 (matrices, outputs, k), orthonormal.
    """

    energy: Array
    directions: Array

    def error(self, rank: int) -> float:
        """Relative root mean square error of the output with factors of this rank."""
        return float(np.sqrt(self.energy[rank:].sum() / max(self.energy.sum(), 1e-300)))


def required_activations(structure: Structure, layer: Layer) -> str:
    """The value whose Gram matrix tells the principal directions.

    Raises:
        Refused: The layer is no matrix.
    """
    form = form_of(structure, layer)
    return str((layer.data if _by_inputs(form) else layer.output).name)


def _by_inputs(form: Form) -> bool:
    return form.hidden or (form.columns < form.rows and not form.patches)


def principal_directions(structure: Structure, layer: Layer, calibration: Calibration) -> Directions:
    """Principal directions of what a layer gives before its bias.

    Raises:
        Refused: The layer is no matrix, or activations are not finite.
    """
    key = ("directions", layer.name)
    return calibration.kept(structure.model, key, lambda: _principal_directions(structure, layer, calibration))


def _principal_directions(structure: Structure, layer: Layer, calibration: Calibration) -> Directions:
    form, name = form_of(structure, layer), required_activations(structure, layer)
    matrices = weight_matrices(structure, layer, form)
    value = calibration.activations(structure.model, [name])[name]
    rows = form.taken(value, by_sample=not calibration.axis) if _by_inputs(form) else form.given(value)
    chosen = calibration.chosen(rows.shape[1])
    folds = calibration.folds(rows.shape[1])[chosen]
    rows = calibration.finite(rows[:, chosen])
    weight: Array | None = None
    if not _by_inputs(form):
        rows = rows - _offset(structure, layer, form)
    else:
        weight = matrices
        if form.rows <= form.columns:
            rows, weight = rows @ weight.transpose(0, 2, 1), None
    grams = [rows[:, folds == f].transpose(0, 2, 1) @ rows[:, folds == f] for f in range(FOLDS)]
    gram = np.sum(grams, axis=0)
    # What the layer makes of inputs that are all alike and independent of one another.
    prior = np.eye(form.columns)[None] if weight is not None else matrices @ matrices.transpose(0, 2, 1)
    if layer.operator == "Gather":
        prior = prior / 2
    else:
        seen, given = (np.trace(x, axis1=1, axis2=2)[:, None, None] for x in (gram, prior))
        prior = prior * np.where(seen > 0, UNSEEN * seen / np.maximum(given, 1e-300), 1.0)
    directions = _directions(gram + prior, weight)
    samples = rows.shape[1]
    several = len(np.unique(folds)) > 1
    if samples < MANY * gram.shape[1] and several and _depends_on_input(layer.data):
        # Directions found on some samples hold less of others. What they hold of those is what a factorized layer will keep.
        along = [_energy_along(_directions(gram - g + prior, weight), g, weight) for g in grams]
        energy = np.sum(along, axis=0)
    else:
        energy = _energy_along(directions, gram, weight)
    return Directions(np.maximum(energy, 0.0) / max(1, samples), directions)


def _offset(structure: Structure, layer: Layer, form: Form) -> Array:
    """What the layer adds to its outputs: float64, broadcast against (matrices, samples, outputs)."""
    added = offset(structure, layer)
    return added if added.size == 1 else added.reshape(form.count, 1, form.rows)


def _directions(gram: Array, weight: Array | None) -> Array:
    """Principal directions of outputs with this Gram matrix; or of what weights make of inputs with this one.

    Args:
        gram: float64 (matrices, n, n).
        weight: float64 (matrices, m, n) with `n < m`, `None` where the Gram matrix is that of the outputs themselves.

    Returns:
        float64 (matrices, n or m, n), descending by energy.
    """
    values, vectors = np.linalg.eigh(gram)
    if weight is None:
        return np.asarray(vectors[:, :, ::-1])
    half = weight @ (vectors * np.sqrt(np.maximum(values, 0.0))[:, None])
    _, right = np.linalg.eigh(half.transpose(0, 2, 1) @ half)
    # Orthonormal also where there is no energy, and the first columns span what the first directions do.
    return np.linalg.qr(half @ right[:, :, ::-1])[0]


def _energy_along(directions: Array, gram: Array, weight: Array | None) -> Array:
    """The energy of samples with this Gram matrix along directions found on these or others, of all matrices together."""
    seen = directions if weight is None else weight.transpose(0, 2, 1) @ directions
    return np.asarray(np.einsum("gij,gij->j", seen, gram @ seen))


def _depends_on_input(value: ir.Value) -> bool:
    """Whether a value changes with what is fed, not only with its shape."""
    waiting, seen = [value], set()
    while waiting:
        current = waiting.pop()
        node = current.producer()
        if current.is_graph_input():
            return True
        if node is None or node in seen or node.op_type in ("Shape", "Size"):
            continue
        seen.add(node)
        waiting += [v for v in node.inputs if v is not None]
    return False


def _place(structure: Structure, layer: Layer, form: Form, edit: Edit, matrix: Array, left: Array) -> Place:
    """Where the predicted error can be measured."""
    if form.hidden:
        return Place(str(layer.data.name), edit.nodes[0].output, np.zeros(1), -1, (matrix, left))
    return Place(str(layer.output.name), edit.rewires[0].replacement, offset(structure, layer), layer.units_axis)


def factored(structure: Structure, layer: Layer, left: Array, right: Array) -> Edit:
    """A layer in two steps.

    Args:
        structure: Of the model.
        layer: The layer.
        left: (matrices, outputs, r).
        right: (matrices, r, inputs).
    """
    factors = _Factors(layer, form_of(structure, layer), LayerBuilder(structure), left, right, structure.model.opset)
    return factors.builder.edit(*_STEPS[layer.operator](factors))


class _Factors:
    """What the two steps of a layer are made from."""

    def __init__(self, layer: Layer, form: Form, builder: LayerBuilder, left: Array, right: Array, opset: int) -> None:
        self.layer, self.form, self.builder, self._opset = layer, form, builder, opset
        self.rank = free_letter(form)
        self.names = [builder.layer_name(f"{layer.name}.{part}") for part in ("reduce", "expand")]
        units = left.shape[2:]
        groups, outputs, inputs = (form.size(x) for x in (form.groups, form.outputs, form.inputs))
        self._arrays = right.reshape(groups + units + inputs), left.reshape(groups + outputs + units)
        self._letters = form.groups + self.rank + form.inputs, form.groups + form.outputs + self.rank

    def weight(self, step: int, wanted: str, *, matrix: bool = False) -> str:
        """Add a factor with its axes in this order; returns its name.

        Args:
            step: 0 for the first one, 1 for the second.
            wanted: Letters; one that the factor lacks becomes an axis of size one.
            matrix: Whether leading axes of size one may go.
        """
        array = arranged(self._arrays[step], self._letters[step], wanted)
        if self.form.split:
            array = array.reshape(-1, *array.shape[2:])
        while matrix and array.ndim > 2 and len(array) == 1:
            array = array[0]
        return self.builder.tensor(f"{self.names[step]}.weight", np.ascontiguousarray(array, dtype=np.float32))

    def node(self, step: int, operator: str, inputs: Sequence[str], attributes: Mapping[str, Any] | None = None) -> str:
        """Add the node of a step; returns the name of what it gives."""
        return self.builder.node(operator, inputs, self.names[step], attributes)

    @property
    def data(self) -> str:
        """What the layer takes."""
        return str(self.layer.data.name)

    @property
    def bias(self) -> tuple[str, ...]:
        """What the layer adds."""
        return () if self.layer.bias is None else (self.layer.bias,)

    @property
    def nothing(self) -> tuple[str, ...]:
        """What a Gemm without a bias adds: a zero before opset 11, where it had to have one."""
        return () if self._opset >= 11 else (self.builder.tensor(f"{self.names[0]}.zero", np.zeros(1, np.float32)),)

    def instead(self, output: str) -> tuple[Rewire, ...]:
        """Everybody uses this one."""
        return (Rewire(str(self.layer.output.name), output),)


def _convolutions(f: _Factors) -> tuple[Rewire, ...]:
    """The second one has a single tap and as many groups."""
    taps, group = f.form.weight[3:], f.form.split
    order = f"g{f.rank}c" if f.layer.operator == "Conv" else f"gc{f.rank}"
    first = f.node(0, f.layer.operator, (f.data, f.weight(0, order + taps)), dict(f.layer.node.attributes))
    single = {"kernel_shape": [1 for _ in taps], **({"group": group} if group > 1 else {})}
    return f.instead(f.node(1, "Conv", (first, f.weight(1, f"gm{f.rank}{taps}"), *f.bias), single))


def _gemms(f: _Factors) -> tuple[Rewire, ...]:
    attributes = f.layer.node.attributes
    turned = {"transA": 1} if attributes.get_int("transA", 0) else {}
    names = ("alpha", "beta") if f.bias else ("alpha",)
    scale = {k: v for k in names if (v := attributes.get_float(k, 1.0)) != 1.0}
    first = f.node(0, "Gemm", (f.data, f.weight(0, f"{f.rank}k"), *f.nothing), {"transB": 1, **turned})
    return f.instead(f.node(1, "Gemm", (first, f.weight(1, f"m{f.rank}"), *f.bias), {"transB": 1, **scale}))


def _products(f: _Factors) -> tuple[Rewire, ...]:
    leading = f.form.weight[:-2]
    if f.layer.weight_position == 1:
        first = f.node(0, "MatMul", (f.data, f.weight(0, f"{leading}k{f.rank}", matrix=True)))
        return f.instead(f.node(1, "MatMul", (first, f.weight(1, f"{leading}{f.rank}m"))))
    first = f.node(0, "MatMul", (f.weight(0, f"{leading}{f.rank}k", matrix=True), f.data))
    return f.instead(f.node(1, "MatMul", (f.weight(1, f"{leading}m{f.rank}"), first)))


def _einsums(f: _Factors) -> tuple[Rewire, ...]:
    one, two = f.form.groups + f.rank + f.form.inputs, f.form.groups + f.form.outputs + f.rank
    middle = "".join(x for x in f.form.data if x not in f.form.inputs) + f.rank
    first = f.node(0, "Einsum", (f.data, f.weight(0, one)), {"equation": f"{f.form.data},{one}->{middle}"})
    return f.instead(f.node(1, "Einsum", (first, f.weight(1, two)), {"equation": f"{middle},{two}->{f.form.result}"}))


def _embeddings(f: _Factors) -> tuple[Rewire, ...]:
    first = f.node(0, "Gather", (f.weight(0, f"v{f.rank}"), f.data), dict(f.layer.node.attributes))
    return f.instead(f.node(1, "MatMul", (first, f.weight(1, f"{f.rank}d"))))


def _cells(f: _Factors) -> tuple[Rewire, ...]:
    """The cell stays what it is; it takes fewer inputs."""
    node = f.layer.node
    first = f.node(0, "MatMul", (f.data, f.weight(0, f"i{f.rank}")))
    rest = ["" if v is None else str(v.name) for v in node.inputs[2:]]
    inputs, wanted = (first, f.weight(1, f"dg{f.rank}"), *rest), [bool(o.name) for o in node.outputs]
    results = f.builder.results(node.op_type, inputs, f.names[1], dict(node.attributes), wanted)
    return tuple(Rewire(str(o.name), new) for o, new in zip(node.outputs, results, strict=True) if new)


_STEPS: dict[str, Callable[[_Factors], tuple[Rewire, ...]]] = {
    "Conv": _convolutions,
    "ConvTranspose": _convolutions,
    "Gemm": _gemms,
    "MatMul": _products,
    "Einsum": _einsums,
    "Gather": _embeddings,
    "LSTM": _cells,
    "GRU": _cells,
    "RNN": _cells,
}
