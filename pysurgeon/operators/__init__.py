"""What is known of every operator, one family a file. A missing operator is a refusal, never a guess."""

from __future__ import annotations

import onnx_ir as ir

from pysurgeon.graph.families import collected
from pysurgeon.operators import (
    attention,
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
from pysurgeon.operators.operator import Key, Operator

OPERATORS: dict[Key, Operator] = collected(
    "entry",
    attention.FAMILY,
    contraction.FAMILY,
    elementwise.FAMILY,
    indexing.FAMILY,
    layout.FAMILY,
    normalization.FAMILY,
    pooling.FAMILY,
    quantization.FAMILY,
    recurrent.FAMILY,
    reduction.FAMILY,
    resampling.FAMILY,
    shapes.FAMILY,
)


def lookup(node: ir.Node) -> Operator | None:
    """What is known about the operator of a node, or `None`."""
    return OPERATORS.get((node.domain, node.op_type))
