r"""A smaller basis instead of fewer units, where only linear maps touch them.

Let the units X (samples, n) be contracted with Y (samples, n), as queries are with keys, or with a reader's weight. If nothing but
linear maps lies between what writes them and the product X Y', any M, N (n, r) may go into the writers: `X M (Y N)'`. With the
Gram matrices A = X'X, B = Y'Y and the singular value decomposition `A^1/2 B^1/2 = U S V'`, the error is least, in the Frobenius
norm over all pairs, for `M = B^1/2 V_r S_r^-1/2`, `N = A^1/2 U_r S_r^-1/2` (Eckart and Young 1936): `|X M N' Y' - X Y'|^2` is the
sum of the squares of the singular values that are left out. Every head has a basis of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from pysurgeon.graph import Array
from pysurgeon.graph.terms import Dim, Prod, Term, leaves, size
from pysurgeon.operators.constraints import Read
from pysurgeon.surgery.calibration import FOLDS, LARGEST_SAMPLE, Calibration
from pysurgeon.surgery.edits.edit import AxisMap
from pysurgeon.surgery.layers.bias import bias_of
from pysurgeon.widths.axis_layout import Blockwise, occurrences
from pysurgeon.widths.structure import Structure, Width

_MOVES = frozenset({"Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity"})
# Relative to the largest singular value of a head; what lies below is rounding.
_NOTHING = 1e-7


@dataclass(frozen=True)
class Side:
    """What one factor of a product is made of.

    Attributes:
        value: Name of the factor.
        axis: Its axis of units.
        tensors: (tensor, axis) pairs that write it; for a weight that reads the units, the weight.
    """

    value: str
    axis: int
    tensors: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Contraction:
    """A width that may change its basis.

    Attributes:
        width: The width.
        left: What writes the units that are contracted.
        right: What they are contracted with: computed like `left`, or the weight of a reader.
        heads: The dim that counts bases, `None` for a single one.
        node: Name of an output of the node that contracts them.
        read: How the weight reads them, `None` where both factors are computed.
    """

    width: Width
    left: Side
    right: Side
    heads: Dim | None
    node: str
    read: Read | None

    def maps(self, left: Array, right: Array) -> list[AxisMap]:
        """What M and N, float64 (heads, n, r) each, make of the tensors."""
        dim = self.width.dim
        return [
            AxisMap(tensor, axis, dim, Blockwise(np.ascontiguousarray(m.transpose(0, 2, 1), dtype=np.float32)))
            for side, m in ((self.left, left), (self.right, right))
            for tensor, axis in side.tensors
        ]


def contraction_of(structure: Structure, width: Width) -> Contraction | None:
    """The one place where the units of a width are contracted, if all that touches them on the way is linear; else `None`."""
    nodes = structure.constraints.nodes
    if len(width.products) == 1 and not width.reads:
        (product,) = width.products
        ends = ((product.value, product.axis), (product.other, product.other_axis))
        found = [_side(structure, width.dim, value, axis) for value, axis in ends]
        node, read = product.node, None
    elif len(width.reads) == 1 and not width.products and nodes[width.reads[0].node].op_type in ("MatMul", "Gemm"):
        (read,) = width.reads
        found = [_side(structure, width.dim, read.value, read.value_axis)]
        found.append((Side(read.tensor, read.axis, ((read.tensor, read.axis),)), set()))
        node = read.node
    else:
        return None
    if any(f is None for f in found):
        return None
    (left, before), (right, after) = (f for f in found if f is not None)
    touched = {n for n in structure.model.nodes if any(width.dim in leaves(t) for t in _terms(structure, n))}
    if touched != before | after | {nodes[node]} or {t for t, _ in left.tensors} & {t for t, _ in right.tensors}:
        return None
    if not left.tensors or not right.tensors or (read is not None and _uses(structure, read.tensor) != 1):
        return None
    places = [structure.term(t, a) for t, a in (*left.tensors, *right.tensors)]
    heads = _heads(places[0], width.dim)
    if heads is None or any(_heads(p, width.dim) != heads for p in places):
        return None
    counted = heads[0] if heads else None
    result = Contraction(width, left, right, counted, node, read)
    return result if read is not None or all(_is_laid_out(structure, s, counted) for s in (left, right)) else None


def bases(contraction: Contraction, structure: Structure, calibration: Calibration) -> Bases:
    """The best bases of every size, and what they lose."""
    key = ("bases", contraction.width.name)
    return calibration.kept(structure.model, key, lambda: _bases(contraction, structure, calibration))


@dataclass(frozen=True)
class Bases:
    """Bases for every size.

    Attributes:
        left: M of full size, float64 (heads, n, n), the directions that matter most first.
        right: N.
        cost: float64 (n,): squared error of what is contracted, relative to it, once so many directions are gone (`cost[k]` is that
            of k + 1), on samples that the bases were not chosen by.
    """

    left: Array
    right: Array
    cost: Array


def _bases(contraction: Contraction, structure: Structure, calibration: Calibration) -> Bases:
    sides = (contraction.left, contraction.right) if contraction.read is None else (contraction.left,)
    values = [calibration.activations(structure.model, [side.value])[side.value] for side in sides]
    count = len(values[0])
    tokens = max(v.size // max(1, count * contraction.width.size) for v in values)
    chosen = calibration.chosen(count, max(2 * FOLDS, LARGEST_SAMPLE // max(1, tokens)))
    rows, *others = (
        _rows(s, v[chosen], contraction, structure, calibration) for s, v in zip(sides, values, strict=True)
    )
    n, read = contraction.width.size, contraction.read
    if read is None:
        (other,) = others
        signal, moving = _energies(rows, other).sum(), rows
    else:
        other = _weight(contraction, structure)
        # The bias takes up what the mean unit gives.
        constant = bias_of(structure, contraction.width, read, once=False) is not None
        signal, moving = _energies(rows, other).sum(), rows - rows.mean((1, 2), keepdims=True) if constant else rows
    folds = calibration.folds(count)[chosen]
    parts = [(moving[:, folds == f], other if read is not None else other[:, folds == f]) for f in range(FOLDS)]
    grams = [np.stack([_gram(p[k]) for p in parts]) for k in (0, 1)]
    lost = np.zeros(n)
    for f, (x, y) in enumerate(parts):
        m, k = _factors(*(g.sum(0) - g[f] for g in grams))
        along = _energies(x @ m[:, None], y @ (k if read is not None else k[:, None]))
        # What lies outside of all directions found is lost with any number of them.
        outside = max(0.0, float(_energies(x, y).sum() - along.sum()))
        lost += np.array([along[r:, r:].sum() for r in range(n - 1, -1, -1)]) + outside
    return Bases(*_factors(*(g.sum(0) for g in grams)), np.maximum(lost, 0.0) / max(float(signal), 1e-300))


def _factors(a: Array, b: Array) -> tuple[Array, Array]:
    """M and N of full size for Gram matrices (heads, n, n)."""
    left, right = _root(a), _root(b)
    u, s, vt = np.linalg.svd(left @ right)
    scale = 1.0 / np.sqrt(np.maximum(s, np.maximum(_NOTHING * s[:, :1], 1e-30)))[:, None, :]
    m, n = right @ vt.transpose(0, 2, 1) * scale, left @ u * scale
    # The two sides keep the proportion that they had, so that neither learns much faster than it did.
    before = _energy(a) / np.maximum(_energy(b), 1e-300)
    after = np.maximum(_energy(_between(m, a)), 1e-300) / np.maximum(_energy(_between(n, b)), 1e-300)
    balance = (np.maximum(before, 1e-300) / after)[:, None, None] ** 0.25
    return m * balance, n / balance


def _energies(x: Array, y: Array) -> Array:
    """Products of the parts `x_i y_i'` that `x y'` is the sum of, over all directions i, j: float64 (n, n).

    Args:
        x: (heads, samples, tokens, n).
        y: The same; or a weight (heads, outputs, n), for which the heads add up to one output.
    """
    heads, n = len(x), x.shape[-1]
    if y.ndim == 3:
        both = [a.reshape(heads, -1, n).transpose(1, 0, 2).reshape(-1, heads * n) for a in (x, y)]
        return np.asarray(np.multiply(*(a.T @ a for a in both)).reshape(heads, n, heads, n).sum((0, 2)))
    total = np.zeros((n, n))
    for k in range(x.shape[1]):
        total += np.multiply(*(np.swapaxes(a[:, k], 1, 2) @ a[:, k] for a in (x, y))).sum(0)
    return total


def _rows(side: Side, value: Array, contraction: Contraction, structure: Structure, calibration: Calibration) -> Array:
    """What a factor holds on some samples: float64 (heads, samples, tokens, n)."""
    dim, value = contraction.width.dim, calibration.finite(value)
    if contraction.read is not None:
        moved = np.moveaxis(value, side.axis, -1)
        at = occurrences(structure.value_term(side.value, side.axis), dim)
        rows = moved.reshape(len(moved), -1, moved.shape[-1])[:, :, at]
        return np.asarray(rows.transpose(2, 0, 1, 3))
    terms = [structure.value_term(side.value, k) for k in range(value.ndim)]
    if contraction.heads is None:
        return np.asarray(np.moveaxis(value, side.axis, -1)[None])
    return np.asarray(np.moveaxis(value, (terms.index(contraction.heads), side.axis), (0, -1)))


def _weight(contraction: Contraction, structure: Structure) -> Array:
    """The reader's weight: float64 (heads, outputs, n)."""
    assert contraction.read is not None
    tensor, axis = contraction.read.tensor, contraction.read.axis
    moved = np.moveaxis(structure.model.tensor(tensor), axis, -1).astype(np.float64)
    at = occurrences(structure.term(tensor, axis), contraction.width.dim)
    return np.asarray(moved.reshape(-1, moved.shape[-1])[:, at].transpose(1, 0, 2))


def _gram(rows: Array) -> Array:
    flat = rows.reshape(len(rows), -1, rows.shape[-1])
    return np.asarray(flat.transpose(0, 2, 1) @ flat)


def _root(gram: Array) -> Array:
    values, vectors = np.linalg.eigh(gram)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]) @ vectors.transpose(0, 2, 1))


def _energy(gram: Array) -> Array:
    return np.asarray(np.trace(gram, axis1=1, axis2=2))


def _between(m: Array, gram: Array) -> Array:
    return np.asarray(m.transpose(0, 2, 1) @ gram @ m)


def _side(structure: Structure, dim: Dim, value: str, axis: int) -> tuple[Side, set[ir.Node]] | None:
    """Back from a factor to the tensors that write it; `None` if something on the way is not linear in the units."""
    waiting, seen, tensors = [structure.value(value)], set(), []
    while waiting:
        current = waiting.pop()
        if current.is_initializer():
            axes = [k for k, t in enumerate(structure.constraints.resolved(current)) if dim in leaves(t)]
            if len(axes) != 1 or structure.model.tensor(str(current.name)).dtype != np.float32:
                return None
            tensors.append((str(current.name), axes[0]))
            continue
        producer = current.producer()
        if producer is None:
            return None
        if producer in seen:
            continue
        inputs = [v for v in producer.inputs if v is not None and v.name]
        holding = [v for v in inputs if any(dim in leaves(t) for t in structure.constraints.resolved(v))]
        if not _is_linear(producer, inputs, holding):
            return None
        seen.add(producer)
        waiting += holding
    return Side(value, axis, tuple(dict.fromkeys(tensors))), seen


def _is_linear(node: ir.Node, inputs: list[ir.Value], holding: list[ir.Value]) -> bool:
    """Whether a node maps units to units of the same basis, given which of its inputs hold them."""
    if node.domain != "" or len(node.outputs) != 1:
        return False
    if node.op_type in _MOVES:
        return holding == inputs[:1]
    if node.op_type in ("Add", "Sub"):
        return len(holding) == len(inputs)
    if node.op_type in ("Mul", "Div"):
        return len(holding) == 1 and (node.op_type == "Mul" or holding == inputs[:1])
    if node.op_type == "Conv" and node.attributes.get_int("group", 1) != 1:
        return False
    if node.op_type in ("MatMul", "Gemm", "Conv"):
        factors = [v for v in holding if v in inputs[:2]]
        return len(factors) == 1 and (len(inputs) < 3 or inputs[2] in holding)
    return False


def _terms(structure: Structure, node: ir.Node) -> Iterator[Term]:
    for value in (*node.inputs, *node.outputs):
        if value is not None and value.name:
            yield from structure.constraints.resolved(value)


def _uses(structure: Structure, tensor: str) -> int:
    return len(list(structure.value(tensor).uses()))


def _heads(term: Term, dim: Dim) -> tuple[Dim, ...] | None:
    """What else a tensor's axis of units counts: nothing, or one dim; `None` if it is anything else."""
    if term is dim:
        return ()
    if not isinstance(term, Prod) or any(not isinstance(f, Dim) for f in term.factors):
        return None
    rest = tuple(f for f in term.factors if isinstance(f, Dim) and f is not dim)
    return rest if len(rest) == 1 and len(term.factors) == 2 and size(rest[0]) is not None else None


def _is_laid_out(structure: Structure, side: Side, heads: Dim | None) -> bool:
    """Whether a computed factor has axes of samples, tokens and units, and of heads where there are several."""
    terms = list(structure.constraints.resolved(structure.value(side.value)))
    if len(terms) != (3 if heads is None else 4) or not isinstance(terms[side.axis], Dim):
        return False
    return heads is None or (terms.count(heads) == 1 and terms.index(heads) != 0)
