"""All operators that torch computes, collected from their families. What is missing is refused, never guessed."""

from __future__ import annotations

import onnx_ir as ir

from pysurgeon.graph.families import collected
from pysurgeon.graph.nodes import STUMBLED
from pysurgeon.training.engines.torch import (
    contraction,
    elementwise,
    indexing,
    layout,
    normalization,
    pooling,
    quantization,
    recurrent,
    reduction,
    resampling,
    shapes,
)
from pysurgeon.training.engines.torch.node import CannotRunError, Node

OPERATORS = collected(
    "function",
    contraction.OPERATORS,
    elementwise.OPERATORS,
    indexing.OPERATORS,
    layout.OPERATORS,
    normalization.OPERATORS,
    pooling.OPERATORS,
    quantization.OPERATORS,
    recurrent.OPERATORS,
    reduction.OPERATORS,
    resampling.OPERATORS,
    shapes.OPERATORS,
)


def refusal(node: ir.Node, opset: int) -> str:
    """Why a node cannot be computed, nothing if it can."""
    if node.domain != "" or node.op_type not in OPERATORS:
        domain = f" of domain {node.domain!r}" if node.domain else ""
        return f"the trainer torch has no function for the operator {node.op_type}{domain}"
    try:
        OPERATORS[node.op_type].make(Node.of(node, opset))
    except (CannotRunError, *STUMBLED) as error:
        return f"the trainer torch cannot compute this {node.op_type}: {error}"
    return ""
