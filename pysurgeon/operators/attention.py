"""Attention as one operator: heads and the size of a head, which queries and keys write for one another."""

from __future__ import annotations

import onnx_ir as ir

from pysurgeon.graph.nodes import describe, operand
from pysurgeon.graph.terms import Dim, Prod, Term, size
from pysurgeon.operators.constraints import Constraints
from pysurgeon.operators.operator import Family, Operator

FAMILY = Family()


def attention(constraints: Constraints, node: ir.Node) -> None:
    """Q (N, T, H*D), K (N, S, G*D), V (N, S, G*E) -> (N, T, H*E); or (N, H, T, D) with heads as an axis.

    H = G*r heads of queries share G heads of keys and values.
    """
    q, k, v = node.inputs[:3]
    assert q is not None
    assert k is not None
    assert v is not None
    if any(operand(node, p) is not None for p in (4, 5)) or any(o.name for o in node.outputs[1:]):
        constraints.pin_node(node, f"{describe(node)}: a cache of keys and values is not supported")
        return
    tq, tk, tv, ty = (constraints.terms(x) for x in (q, k, v, node.outputs[0]))
    constraints.equal(tq[0], tk[0], node)
    constraints.equal(tq[0], tv[0], node)
    constraints.equal(tq[0], ty[0], node)
    flat = len(tq) == 3
    heads = int(node.attributes.get_int("q_num_heads", 0)) if flat else size(tq[1])
    groups = int(node.attributes.get_int("kv_num_heads", 0)) if flat else size(tk[1])
    sizes = [size(t[2] if flat else t[3]) for t in (tq, tv)]
    if not heads or not groups or heads % groups or None in sizes:
        constraints.pin_node(node, f"{describe(node)}: its heads could not be followed")
        return
    parts = (heads, groups) if flat else (1, 1)
    key, value = (constraints.fresh((s or 0) // p) for s, p in zip(sizes, (parts[0], parts[1]), strict=True))
    shared = constraints.fresh(groups)
    all_heads: Term = shared if heads == groups else Prod((shared, constraints.fresh(heads // groups)))
    if flat:
        constraints.attribute(node, "q_num_heads", all_heads)
        constraints.attribute(node, "kv_num_heads", shared)
        for terms, count, inner in (
            (tq, all_heads, key),
            (tk, shared, key),
            (tv, shared, value),
            (ty, all_heads, value),
        ):
            constraints.equal(terms[2], Prod((count, inner)), node)
        constraints.equal(tq[1], ty[1], node)
        constraints.equal(tk[1], tv[1], node)
    else:
        for terms, count, inner in (
            (tq, all_heads, key),
            (tk, shared, key),
            (tv, shared, value),
            (ty, all_heads, value),
        ):
            constraints.equal(terms[1], count, node)
            constraints.equal(terms[3], inner, node)
        constraints.equal(tq[2], ty[2], node)
        constraints.equal(tk[2], tv[2], node)
    for terms in (tq, tk):
        constraints.pin(terms[1 if flat else 2], f"{describe(node)} runs along it")
    if "scale" not in node.attributes:
        constraints.pin(key, f"{describe(node)} divides by the root of it; give it a scale")
    _mask(constraints, node, all_heads)
    constraints.contract(node, q, len(tq) - 1, k, len(tk) - 1, key)


def _mask(constraints: Constraints, node: ir.Node, heads: Term) -> None:
    mask = constraints.terms(operand(node, 3))
    if len(mask) == 4 and size(mask[1]) != 1:
        constraints.equal(mask[1], heads, node)
    for term in mask:
        if not (isinstance(term, Dim) and constraints.same(term, heads)):
            constraints.pin(term, f"it is an axis of the mask of {describe(node)}")


FAMILY.add(
    "Attention",
    operator=Operator(
        attention, "heads (also shared among queries) and their sizes; the sequence stays; no cache of keys and values"
    ),
)
