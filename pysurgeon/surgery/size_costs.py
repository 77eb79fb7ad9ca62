"""What a model costs with other sizes of its widths, told from the terms of its axes: no model is built for it.

Every axis of a tensor or a value is a term over dims. So parameters are sums of products of sizes, and the operations of a node follow from the
shapes of what it takes and gives. A node is counted again only where one of its own dims has another size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

import onnx_ir as ir

from pysurgeon.graph.terms import Dim, Term, leaves, size
from pysurgeon.model.costs import Costs, counted
from pysurgeon.operators.operator import Operator
from pysurgeon.widths.axis_layout import term_size
from pysurgeon.widths.structure import Structure


@dataclass
class _Part:
    """A tensor or a node, with what it has cost so far by the sizes of its dims."""

    dims: tuple[Dim, ...]
    known: dict[tuple[int, ...], int] = field(default_factory=dict)


@dataclass
class _Tensor(_Part):
    terms: tuple[Term, ...] = ()
    elementwise: bool = False

    def count(self, sizes: Mapping[Dim, int]) -> int:
        elements = prod(term_size(t, sizes) for t in self.terms)
        return 0 if self.elementwise and elements == 1 else elements


@dataclass
class _Node(_Part):
    node: ir.Node | None = None
    operator: Operator | None = None
    shapes: tuple[tuple[ir.Shape, tuple[Term, ...]], ...] = ()

    def count(self, sizes: Mapping[Dim, int]) -> int:
        assert self.node is not None
        assert self.operator is not None
        for shape, terms in self.shapes:
            for axis, term in enumerate(terms):
                if not sizes.keys().isdisjoint(leaves(term)):
                    shape[axis] = None if size(term) is None else term_size(term, sizes)
        return self.operator.count(self.node)


class SizeCosts:
    """The costs of one model at any sizes of its widths: what `costs` counts in the model that has these sizes.

    Args:
        structure: Of the model.
    """

    def __init__(self, structure: Structure) -> None:
        self._dims = {w.name: w.dim for w in structure.widths}
        self._sizes = {w.name: w.size for w in structure.widths}
        free = {w.dim for w in structure.widths if w.resizable}
        model, resolved = structure.model, structure.constraints.resolved
        self._tensors, self._nodes = [], []
        always = set(model.trainable(elementwise=False))
        for name in model.trainable():
            terms = tuple(resolved(model.ir.graph.initializers[name]))
            self._tensors.append(_Tensor(_among(free, terms), {}, terms, name not in always))
        for node, sized, operator in counted(model):
            old = [v for v in (*node.inputs, *node.outputs) if v is not None and v.shape is not None]
            private, shapes = _private(sized)
            pairs = tuple((shape, tuple(resolved(v))) for shape, v in zip(shapes, old, strict=True))
            of_node = _among(free, [t for _, terms in pairs for t in terms])
            self._nodes.append(_Node(of_node, {}, private, operator, pairs))

    def __call__(self, sizes: Mapping[str, int]) -> Costs:
        """The costs.

        Args:
            sizes: By width; those that are left out are as they are.
        """
        now = {d: sizes.get(name, self._sizes[name]) for name, d in self._dims.items()}
        return Costs(_sum(self._tensors, now), _sum(self._nodes, now))


def _sum(parts: list[_Tensor] | list[_Node], now: Mapping[Dim, int]) -> int:
    total = 0
    for part in parts:
        key = tuple(now[d] for d in part.dims)
        if key not in part.known:
            part.known[key] = part.count(dict(zip(part.dims, key, strict=True)))
        total += part.known[key]
    return total


def _among(dims: set[Dim], terms: list[Term] | tuple[Term, ...]) -> tuple[Dim, ...]:
    """Those of some dims that terms hold."""
    return tuple(dict.fromkeys(d for t in terms for d in leaves(t) if d in dims))


def _private(node: ir.Node) -> tuple[ir.Node, list[ir.Shape]]:
    """A node by itself whose operands and results have shapes of their own, and those shapes."""
    made: list[ir.Value | None] = []
    for value in (*node.inputs, *node.outputs):
        known = None if value is None or value.shape is None else ir.Shape(list(value.shape))
        made.append(None if value is None else ir.Value(name=value.name, shape=known, type=value.type))
    inputs, outputs = made[: len(node.inputs)], [v for v in made[len(node.inputs) :] if v is not None]
    alone = ir.Node(node.domain, node.op_type, inputs, list(node.attributes.values()), outputs=outputs)
    return alone, [v.shape for v in made if v is not None and v.shape is not None]
