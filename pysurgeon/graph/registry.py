"""The one registry of what pysurgeon knows about an operator. A missing operator is a refusal, never a guess."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

    from pysurgeon.graph.inference import Inference

Rule = Callable[["Inference", "ir.Node"], None]
Macs = Callable[["ir.Node"], int]


# What a rule meets that counts on axes, operands and numbers that a node does not have. Others are defects of the rule.
STUMBLED = (ArithmeticError, AssertionError, LookupError, TypeError, ValueError)


class Scaling(Enum):
    """What becomes of a unit that comes in multiplied by a positive number (see `shares`)."""

    NONE = "it must come in as it is"
    MOVES = "it goes out multiplied by the same number"
    ADDS = "so must all others that are added to it be multiplied, and then so is the sum"
    MULTIPLIES = "the result is multiplied by the product of the operands' numbers"
    DIVIDES = "the result is multiplied by the quotient of the operands' numbers"
    NORMALIZES = "it must come in as it is, and goes out multiplied as the scale and the bias are"


@dataclass(frozen=True)
class Operator:
    """What is known about an operator.

    Attributes:
        infer: Contributes the equations between the terms of the operator's inputs and outputs.
        summary: What is inferred, for the table of supported operators; what keeps its size behind a semicolon.
        macs: Multiply-accumulate operations for one sample, `None` where it does none worth counting.
        parameters: Input positions whose initializers training adjusts.
        statistics: Input positions whose initializers training updates without a gradient.
        elementwise: Whether it treats every element alike, so that a scalar operand is part of its formula.
        weights: Input positions of which one makes a node a layer that operations can name, if it holds a weight and the other one
            of the first two is computed.
        scaling: What becomes of a unit that is multiplied by a positive number.
    """

    infer: Rule
    summary: str
    macs: Macs | None = None
    parameters: tuple[int, ...] = ()
    statistics: tuple[int, ...] = ()
    elementwise: bool = False
    weights: tuple[int, ...] = ()
    scaling: Scaling = Scaling.NONE

    def state(self, inference: Inference, node: ir.Node) -> None:
        """Contribute the equations of a node. One that is not formed as its operator is, whatever a rule stumbles over, keeps all its sizes."""
        try:
            self.infer(inference, node)
        except STUMBLED as error:
            inference.pin_malformed(node, error)

    def count(self, node: ir.Node) -> int:
        """Its multiply-accumulate operations for one sample; none of one that is not formed as its operator is."""
        try:
            return self.macs(node) if self.macs else 0
        except STUMBLED:
            return 0


_OPERATORS: dict[tuple[str, str], Operator] = {}


def register(*op_types: str, operator: Operator, domain: str = "") -> None:
    """Add an operator.

    Raises:
        ValueError: The operator is registered already.
    """
    for op_type in op_types:
        key = (domain, op_type)
        if key in _OPERATORS:
            message = f"operator {key} is registered twice"
            raise ValueError(message)
        _OPERATORS[key] = operator


def lookup(node: ir.Node) -> Operator | None:
    """What is known about the operator of a node, or `None`."""
    _load()
    return _OPERATORS.get((node.domain, node.op_type))


def registered() -> dict[tuple[str, str], Operator]:
    """All known operators by (domain, type)."""
    _load()
    return dict(_OPERATORS)


def _load() -> None:
    from pysurgeon.graph import operators  # noqa: F401  (importing it registers them)
