"""Conv, Gemm, MatMul, Einsum: the operators that read a width."""

from __future__ import annotations

from math import prod

import onnx_ir as ir

from pysurgeon.graph.einsum import subscripts
from pysurgeon.graph.nodes import describe, operand
from pysurgeon.graph.tensors import sizes
from pysurgeon.graph.terms import Prod, Term, size
from pysurgeon.operators.constraints import Constraints
from pysurgeon.operators.elementwise import broadcast
from pysurgeon.operators.operator import Family, Operator, Scaling

FAMILY = Family()


def conv(constraints: Constraints, node: ir.Node) -> None:
    """x (N, C, *), weight (M, C/group, *), bias (M) -> (N, M, *). Transposed: weight (C, M/group, *)."""
    x, weight, output = node.inputs[0], node.inputs[1], node.outputs[0]
    assert x is not None
    assert weight is not None
    xs, ws, ys = constraints.terms(x), constraints.terms(weight), constraints.terms(output)
    constraints.equal(xs[0], ys[0], node)
    for k, (before, after) in enumerate(zip(xs[2:], ys[2:], strict=True)):
        if _each_by_itself(node, size(ws[2 + k]), k):
            constraints.equal(before, after, node)
        else:
            constraints.pin_all((before, after), f"it is a spatial axis of {describe(node)}")
    constraints.pin_all(ws[2:], f"it is the kernel size of {describe(node)}")
    group = int(node.attributes.get_int("group", 1))
    # The axis of the weight that covers all groups, and the one that is the same in each of them.
    outer, inner = (ys[1], xs[1]) if node.op_type == "Conv" else (xs[1], ys[1])
    if group == 1:
        constraints.equal(outer, ws[0], node)
        constraints.equal(inner, ws[1], node)
        read: Term = constraints.solver.resolve(xs[1])
    else:
        first = size(ws[0])
        if first is None:
            constraints.pin_node(node, f"{describe(node)}: the number of filters is not known")
            return
        groups, of_group = constraints.fresh(group), constraints.fresh(first // group)
        constraints.equal(inner, Prod((groups, ws[1])), node)
        constraints.equal(ws[0], Prod((groups, of_group)), node)
        constraints.equal(outer, ws[0], node)
        constraints.attribute(node, "group", groups)
        read = ws[1] if node.op_type == "Conv" else of_group
    if node.op_type == "Conv":
        constraints.contract(node, x, 1, weight, 1, read)
    elif group == 1:
        constraints.contract(node, x, 1, weight, 0, read)
    else:
        # The groups' axis of the weight is written and read at once: one group is kept with all that belongs to it.
        constraints.pin(read, f"it is read by {describe(node)} on an axis that holds the groups, too")
    bias = operand(node, 2)
    if bias is not None:
        constraints.equal(constraints.terms(bias)[0], ys[1], node)


def _each_by_itself(node: ir.Node, taps: int | None, axis: int) -> bool:
    """Whether a convolution with so many taps along a spatial axis treats all places there alike, as a dense layer does."""
    strides, more = (node.attributes.get_ints(n, ()) for n in ("strides", "output_padding"))
    pads = node.attributes.get_ints("pads", ())
    moves = any(x[axis] != n for x, n in ((strides, 1), (more, 0)) if x) or any(pads[axis :: max(1, len(pads) // 2)])
    return taps == 1 and not moves and "output_shape" not in node.attributes


def conv_macs(node: ir.Node) -> int:
    """One sample: output elements times the weights that each one reads (input elements, if transposed)."""
    x, weight, output = node.inputs[0], node.inputs[1], node.outputs[0]
    assert x is not None
    assert weight is not None
    w, y = sizes(weight), sizes(output if node.op_type == "Conv" else x)
    return 0 if w is None or y is None else prod(d or 1 for d in y[1:]) * prod(d or 1 for d in w[1:])


def gemm(constraints: Constraints, node: ir.Node) -> None:
    """alpha * A' (M, K) @ B' (K, N) + beta * C, C broadcast to (M, N)."""
    a, b, output = node.inputs[0], node.inputs[1], node.outputs[0]
    assert a is not None
    assert b is not None
    a_axes = (1, 0) if node.attributes.get_int("transA", 0) else (0, 1)
    b_axes = (1, 0) if node.attributes.get_int("transB", 0) else (0, 1)
    ta, tb, ty = constraints.terms(a), constraints.terms(b), constraints.terms(output)
    constraints.equal(ta[a_axes[0]], ty[0], node)
    constraints.equal(tb[b_axes[1]], ty[1], node)
    constraints.equal(ta[a_axes[1]], tb[b_axes[0]], node)
    constraints.contract(node, a, a_axes[1], b, b_axes[0], tb[b_axes[0]])
    c = operand(node, 2)
    if c is not None:
        broadcast(constraints, node, [c, output])


def matmul(constraints: Constraints, node: ir.Node) -> None:
    """(..., M, K) @ (..., K, N); leading axes broadcast; an operand of one axis is a vector (K)."""
    a, b, output = node.inputs[0], node.inputs[1], node.outputs[0]
    assert a is not None
    assert b is not None
    ta, tb, ty = constraints.terms(a), constraints.terms(b), list(constraints.terms(output))
    k_of_b = max(0, len(tb) - 2)
    if len(tb) > 1:
        constraints.equal(tb[-1], ty.pop(), node)
    if len(ta) > 1:
        constraints.equal(ta[-2], ty.pop(), node)
    constraints.equal(ta[-1], tb[k_of_b], node)
    for leading in (ta[:-2], tb[:-2]):
        for operand_term, result in zip(leading[::-1], ty[::-1], strict=False):
            if size(operand_term) == 1 and size(result) != 1:
                constraints.pin(operand_term, f"it is broadcast in {describe(node)}")
            else:
                constraints.equal(operand_term, result, node)
    constraints.contract(node, a, len(ta) - 1, b, k_of_b, tb[k_of_b])


def matmul_macs(node: ir.Node) -> int:
    """One sample: output elements times the contracted size. A leading dimension of unknown size counts as one."""
    a, output = node.inputs[0], node.outputs[0]
    assert a is not None
    x, y = sizes(a), sizes(output)
    if x is None or y is None:
        return 0
    axis = 0 if node.op_type == "Gemm" and node.attributes.get_int("transA", 0) == 1 else -1
    batch = y[0] if len(y) > 1 and y[0] else 1
    return prod(d or 1 for d in y) // batch * (x[axis] or 1)


def einsum(constraints: Constraints, node: ir.Node) -> None:
    """Every letter is one term; what is not in the result is contracted if two operands have it."""
    known = subscripts(node)
    if known is None:
        equation = node.attributes.get_string("equation", "")
        constraints.pin_node(node, f"{describe(node)}: its equation {equation!r} could not be followed")
        return
    (parts, result), values = known, [*node.inputs, node.outputs[0]]
    first: dict[str, Term] = {}
    at: dict[str, list[tuple[ir.Value, int]]] = {}
    for value, names in zip(values, [*parts, result], strict=True):
        assert value is not None
        for axis, (name, term) in enumerate(zip(names, constraints.terms(value), strict=True)):
            if size(term) == 1 and name in first and size(first[name]) != 1:
                constraints.pin(term, f"it is broadcast in {describe(node)}")
                continue
            constraints.equal(first.setdefault(name, term), term, node)
            at.setdefault(name, []).append((value, axis))
    for name, places in at.items():
        if name in result:
            continue
        if len(places) == 2:
            (a, i), (b, j) = places
            constraints.contract(node, a, i, b, j, first[name])
        else:
            constraints.change(first[name], f"{describe(node)} sums along it")


def einsum_macs(node: ir.Node) -> int:
    """One sample: the product of all sizes in the equation; an unknown one, or a leading batch, counts as one."""
    parts, _ = subscripts(node) or ([], "")
    found: dict[str, int] = {}
    for value, names in zip(node.inputs, parts, strict=False):
        for name, d in zip(names, (sizes(value) if value is not None else None) or (), strict=False):
            found[name] = max(found.get(name, 1), d or 1)
    return prod(found.values())


FAMILY.add(
    "Conv",
    "ConvTranspose",
    operator=Operator(
        conv,
        "channels in and out, of any rank; with groups: the groups, and the channels inside each; kernel sizes stay, and so do spatial axes along which there is more than one tap",
        conv_macs,
        parameters=(1, 2),
        weights=(1,),
        scaling=Scaling.MULTIPLIES,
    ),
)
FAMILY.add(
    "Gemm",
    operator=Operator(
        gemm,
        "all three axes, transposed or not",
        matmul_macs,
        parameters=(1, 2),
        weights=(1,),
        scaling=Scaling.MULTIPLIES,
    ),
)
FAMILY.add(
    "MatMul",
    operator=Operator(
        matmul,
        "all axes; a product of two computed values is a width that both of them write",
        matmul_macs,
        parameters=(0, 1),
        weights=(1, 0),
        scaling=Scaling.MULTIPLIES,
    ),
)
FAMILY.add(
    "Einsum",
    operator=Operator(
        einsum,
        "every letter; equations with a letter twice in one operand keep all sizes",
        einsum_macs,
        parameters=(0, 1),
        weights=(1, 0),
        scaling=Scaling.MULTIPLIES,
    ),
)
