"""Conv, Gemm, MatMul: the operators that read a width with a weight."""

from __future__ import annotations

from math import prod

import onnx_ir as ir

from pysurgeon.graph.inference import Inference, describe
from pysurgeon.graph.model import sizes
from pysurgeon.graph.operators.elementwise import broadcast
from pysurgeon.graph.registry import Operator, register
from pysurgeon.graph.terms import Prod, Term


def _present(node: ir.Node, position: int) -> ir.Value | None:
    return node.inputs[position] if position < len(node.inputs) else None


def conv(inference: Inference, node: ir.Node) -> None:
    """x (N, C, *), weight (M, C/group, *), bias (M) -> (N, M, *)."""
    x, weight, output = node.inputs[0], node.inputs[1], node.outputs[0]
    assert x is not None
    assert weight is not None
    xs, ws, ys = inference.terms(x) or (), inference.terms(weight) or (), inference.terms(output) or ()
    inference.equal(xs[0], ys[0], node)
    for term in (*xs[2:], *ys[2:]):
        inference.pin(term, f"it is a spatial axis of {describe(node)}")
    for term in ws[2:]:
        inference.pin(term, f"it is the kernel size of {describe(node)}")
    group = int(node.attributes.get_int("group", 1))
    filters = (sizes(weight) or (None,))[0]
    if group == 1:
        inference.equal(xs[1], ws[1], node)
        inference.equal(ys[1], ws[0], node)
    elif filters is None:
        inference.pin_node(node, f"{describe(node)}: the number of filters is not known")
    else:
        groups = inference.fresh(group)
        inference.equal(xs[1], Prod((groups, ws[1])), node)
        inference.equal(ws[0], Prod((groups, inference.fresh(filters // group))), node)
        inference.equal(ys[1], ws[0], node)
        inference.attribute(node, "group", groups)
    inference.contract(node, x, 1, weight, 1, ws[1])
    bias = _present(node, 2)
    if bias is not None:
        inference.equal((inference.terms(bias) or ())[0], ws[0], node)


def conv_macs(node: ir.Node) -> int:
    """One sample: output elements times the weights that each one reads."""
    weight, output = node.inputs[1], node.outputs[0]
    assert weight is not None
    w, y = sizes(weight), sizes(output)
    return 0 if w is None or y is None else prod(d or 1 for d in y[1:]) * prod(d or 1 for d in w[1:])


def gemm(inference: Inference, node: ir.Node) -> None:
    """alpha * A' (M, K) @ B' (K, N) + beta * C, C broadcast to (M, N)."""
    a, b, output = node.inputs[0], node.inputs[1], node.outputs[0]
    assert a is not None
    assert b is not None
    a_axes = (1, 0) if node.attributes.get_int("transA", 0) else (0, 1)
    b_axes = (1, 0) if node.attributes.get_int("transB", 0) else (0, 1)
    ta, tb, ty = inference.terms(a) or (), inference.terms(b) or (), inference.terms(output) or ()
    inference.equal(ta[a_axes[0]], ty[0], node)
    inference.equal(tb[b_axes[1]], ty[1], node)
    inference.equal(ta[a_axes[1]], tb[b_axes[0]], node)
    inference.contract(node, a, a_axes[1], b, b_axes[0], tb[b_axes[0]])
    c = _present(node, 2)
    if c is not None:
        broadcast(inference, node, [c, output])


def matmul(inference: Inference, node: ir.Node) -> None:
    """(..., M, K) @ (..., K, N); leading axes broadcast."""
    a, b, output = node.inputs[0], node.inputs[1], node.outputs[0]
    assert a is not None
    assert b is not None
    ta, tb, ty = inference.terms(a) or (), inference.terms(b) or (), inference.terms(output) or ()
    if len(ta) < 2 or len(tb) < 2:
        inference.pin_node(node, f"{describe(node)}: a product with a vector is not supported")
        return
    inference.equal(ta[-2], ty[-2], node)
    inference.equal(tb[-1], ty[-1], node)
    inference.equal(ta[-1], tb[-2], node)
    for terms in (ta, tb):
        for k in range(3, len(terms) + 1):
            if inference.solver.resolve(terms[-k]) != inference.solver.resolve(ty[-k]):
                _leading(inference, node, terms[-k], ty[-k])
    weight_is_left = a.is_initializer()
    if weight_is_left:
        inference.contract(node, b, len(tb) - 2, a, len(ta) - 1, ta[-1])
    else:
        inference.contract(node, a, len(ta) - 1, b, len(tb) - 2, tb[-2])


def _leading(inference: Inference, node: ir.Node, operand: Term, result: Term) -> None:
    if getattr(operand, "size", None) == 1:
        inference.pin(operand, f"it is broadcast in {describe(node)}")
    else:
        inference.equal(operand, result, node)


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


register("Conv", operator=Operator(conv, conv_macs, parameters=(1, 2), layer=True))
register("Gemm", operator=Operator(gemm, matmul_macs, parameters=(1, 2), layer=True))
register("MatMul", operator=Operator(matmul, matmul_macs, parameters=(0, 1), layer=True))
