"""What is known about an operator: one entry of a family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from pysurgeon.graph.nodes import STUMBLED

if TYPE_CHECKING:
    import onnx_ir as ir

    from pysurgeon.operators.constraints import Constraints

Rule = Callable[["Constraints", "ir.Node"], None]
Key = tuple[str, str]
"""Domain and type."""
Macs = Callable[["ir.Node"], int]


class Scaling(Enum):
    """What becomes of a unit that comes in multiplied by a positive number (see `pysurgeon.widths.scale_exponents`)."""

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

    def state(self, constraints: Constraints, node: ir.Node) -> None:
        """Contribute the equations of a node. One that is not formed as its operator is, whatever a rule stumbles over, keeps all its sizes."""
        try:
            self.infer(constraints, node)
        except STUMBLED as error:
            constraints.pin_malformed(node, error)

    def count(self, node: ir.Node) -> int:
        """Its multiply-accumulate operations for one sample; none of one that is not formed as its operator is."""
        try:
            return self.macs(node) if self.macs else 0
        except STUMBLED:
            return 0


class Family(dict[Key, Operator]):
    """The operators of one file, by domain and type."""

    def add(self, *op_types: str, operator: Operator, domain: str = "") -> None:
        """Add operators of which the same is known.

        Raises:
            ValueError: One of them is there already.
        """
        for op_type in op_types:
            key = (domain, op_type)
            if key in self:
                message = f"operator {key} is in the family twice"
                raise ValueError(message)
            self[key] = operator
