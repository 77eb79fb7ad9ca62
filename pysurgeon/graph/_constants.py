"""Constant folding by the ONNX project's own optimizer, with weights left alone."""

from __future__ import annotations

import onnx_ir as ir

from pysurgeon.graph._tensors import PASSING, constant

# Elements of a result that is written down; larger ones are cheaper to compute than to store.
LARGEST_RESULT = 8192


def fold_constants(model: ir.Model) -> bool:
    """Replace in place what is computed from constants (a bias of zeros that is expanded to its size, say).

    What is computed from a weight stays as it is: training changes the weight, and its name is the user's.

    Returns:
        Whether anything changed.
    """
    if not any(_foldable(node) for node in model.graph):
        return False  # the optimizer is not even imported for the great majority of models
    from onnxscript.optimizer import fold_constants as fold

    unnamed = [node for node in model.graph if not node.name]
    result = fold(
        model,
        input_size_limit=LARGEST_RESULT,
        output_size_limit=LARGEST_RESULT,
        should_fold=lambda node: None if _foldable(node) else False,
    )
    for node in unnamed:
        node.name = None  # the optimizer gives names, which are not the user's
    return bool(result.modified)


def _foldable(node: ir.Node) -> bool:
    """Whether a node computes something from constants alone, none of them a weight. The type that CastLike asks for is one."""
    if node.domain != "" or node.op_type in PASSING or node.op_type == "Constant":
        return False
    inputs = node.inputs[:1] if node.op_type == "CastLike" else node.inputs
    if not inputs:
        return False
    for value in inputs:
        array = constant(value)
        if value is not None and not _computed_from_constants(value, 0):
            return False
        if array is not None and array.dtype.kind == "f" and array.size > 1:
            return False
    return True


def _computed_from_constants(value: ir.Value, depth: int) -> bool:
    if constant(value) is not None:
        return True
    node = value.producer()
    return (
        depth < 16
        and node is not None
        and (node.op_type == "Identity" or _foldable(node))
        and all(v is None or _computed_from_constants(v, depth + 1) for v in node.inputs[:1])
    )
