"""Operators that treat every element alike, with NumPy's broadcasting."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from pysurgeon.graph.nodes import describe
from pysurgeon.graph.terms import size
from pysurgeon.operators.constraints import Constraints
from pysurgeon.operators.operator import Family, Operator, Scaling

FAMILY = Family()


def broadcast(constraints: Constraints, node: ir.Node, values: Sequence[ir.Value | None]) -> None:
    """State that the axes of all values, aligned at the last one, are equal unless one of size one is stretched."""
    terms = [constraints.terms(v) for v in values if v is not None]
    for k in range(1, max((len(t) for t in terms), default=0) + 1):
        column = [t[-k] for t in terms if len(t) >= k]
        stretched = [c for c in column if size(c) == 1]
        full = [c for c in column if size(c) != 1]
        for other in full[1:]:
            constraints.equal(full[0], other, node)
        if full:
            constraints.pin_all(stretched, f"it is broadcast in {describe(node)}")
        else:
            for other in stretched[1:]:
                constraints.equal(stretched[0], other, node)


def elementwise(constraints: Constraints, node: ir.Node) -> None:
    """All inputs and outputs have one shape, up to broadcasting."""
    broadcast(constraints, node, [*node.inputs, *node.outputs])


def first_only(constraints: Constraints, node: ir.Node) -> None:
    """The first input and all outputs have one shape; the other inputs are scalars (ratio, bounds)."""
    broadcast(constraints, node, [node.inputs[0], *node.outputs])


UNARY = (
    "Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Cast Ceil Celu Cos Cosh Elu Erf Exp Floor Gelu HardSigmoid HardSwish "
    "Identity IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign "
    "Sqrt Swish Tan Tanh ThresholdedRelu"
).split()
_HOMOGENEOUS = "Abs Cast Identity LeakyRelu Neg Relu".split()
_CHOICE = (
    "And BitShift BitwiseAnd BitwiseOr BitwiseXor Equal Greater GreaterOrEqual Less LessOrEqual Mod Or Xor".split()
)

_SAME = "all axes"
_ALIKE = "all axes, with broadcasting; an axis of one that is stretched stays"

FAMILY.add(
    *(u for u in UNARY if u not in _HOMOGENEOUS),
    operator=Operator(elementwise, _SAME),
)
FAMILY.add(*_HOMOGENEOUS, operator=Operator(elementwise, _SAME, scaling=Scaling.MOVES))
FAMILY.add(
    "Add",
    "Sub",
    "Sum",
    operator=Operator(elementwise, _ALIKE, parameters=(0, 1), elementwise=True, scaling=Scaling.ADDS),
)
FAMILY.add(
    "Mul", operator=Operator(elementwise, _ALIKE, parameters=(0, 1), elementwise=True, scaling=Scaling.MULTIPLIES)
)
FAMILY.add("Div", operator=Operator(elementwise, _ALIKE, parameters=(0, 1), elementwise=True, scaling=Scaling.DIVIDES))
FAMILY.add("PRelu", "Pow", operator=Operator(elementwise, _ALIKE, parameters=(0, 1), elementwise=True))
FAMILY.add(
    "Max", "Mean", "Min", "Where", operator=Operator(elementwise, _ALIKE, elementwise=True, scaling=Scaling.ADDS)
)
FAMILY.add(*_CHOICE, operator=Operator(elementwise, _ALIKE, elementwise=True))
FAMILY.add("Clip", "CastLike", operator=Operator(first_only, _SAME))
FAMILY.add("Dropout", operator=Operator(first_only, _SAME, scaling=Scaling.MOVES))
