"""The one registry of what pysurgeon knows about an operator. A missing operator is a refusal, never a guess."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir

    from pysurgeon.graph.inference import Inference

Rule = Callable[["Inference", "ir.Node"], None]
Macs = Callable[["ir.Node"], int]


@dataclass(frozen=True)
class Operator:
    """What is known about an operator.

    Attributes:
        infer: Contributes the equations between the terms of the operator's inputs and outputs.
        macs: Multiply-accumulate operations for one sample, `None` where it does none worth counting.
        parameters: Input positions whose initializers training adjusts.
        statistics: Input positions whose initializers training updates without a gradient.
        elementwise: Whether it treats every element alike, so that a scalar operand is part of its formula.
        layer: Whether a node of it that holds a weight is a layer that operations can name.
    """

    infer: Rule
    macs: Macs | None = None
    parameters: tuple[int, ...] = ()
    statistics: tuple[int, ...] = ()
    elementwise: bool = False
    layer: bool = False


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
