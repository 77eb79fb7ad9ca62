"""Constant folding by the ONNX project's own optimizer, with weights left alone."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import onnx_ir as ir

from pysurgeon.graph.tensors import PASSING, constant

# Elements of a result that is written down; larger ones are cheaper to compute than to store.
LARGEST_RESULT = 8192

# A few numbers make a large tensor in these. They are worked out only where it is known beforehand how large.
GROWING = frozenset(
    "AffineGrid BlackmanWindow CenterCropPad Col2Im ConstantOfShape DFT Einsum Expand EyeLike GridSample HammingWindow HannWindow "
    "Loop MaxRoiPool MaxUnpool MelWeightMatrix OneHot Pad Range Resize RoiAlign Scan STFT Tile Upsample".split()
)


def is_small(shape: Iterable[object] | None) -> bool:
    """Whether a shape is known and of no more than `LARGEST_RESULT` elements."""
    if shape is None:
        return False
    sizes = [d if isinstance(d, int) else LARGEST_RESULT + 1 for d in shape]
    return prod(sizes) <= LARGEST_RESULT


def fold_constants(model: ir.Model) -> bool:
    """Replace in place what is computed from constants (a bias of zeros that is expanded to its size, say).

    What is computed from a weight stays as it is: training changes the weight, and its name is the user's.

    Returns:
        Whether anything changed.
    """
    foldable = _foldable(model.graph)
    if not foldable:
        return False  # the optimizer is not even imported for the great majority of models
    from onnxscript.optimizer import fold_constants as fold

    unnamed = [node for node in model.graph if not node.name]
    result = fold(
        model,
        input_size_limit=LARGEST_RESULT,
        output_size_limit=LARGEST_RESULT,
        should_fold=lambda node: _should_fold(node) if node in foldable else False,
    )
    for node in unnamed:
        node.name = None  # the optimizer gives names, which are not the user's
    return bool(result.modified)


def _should_fold(node: ir.Node) -> bool | None:
    """Whether a node is to be worked out, `None` if the optimizer is to decide. Shapes are inferred by then.

    By itself the optimizer never writes down a ConstantOfShape, and amounts of padding are made so.
    """
    if node.op_type in GROWING and not all(is_small(o.shape) for o in node.outputs):
        return False
    return True if node.op_type == "ConstantOfShape" else None


def _foldable(graph: ir.Graph) -> set[ir.Node]:
    """The nodes that compute something from constants alone, none of them a weight. The type that CastLike asks for is one."""
    nodes: set[ir.Node] = set()
    computed: set[ir.Value] = set()
    for node in graph:
        if node.domain != "" or node.op_type == "Constant" or _has_subgraph(node):
            continue
        inputs = [v for v in (node.inputs[:1] if node.op_type == "CastLike" else node.inputs) if v is not None]
        if not inputs or not all(v in computed or _is_plain(v, node) for v in inputs):
            continue
        # What only hands on a tensor may be in front of a weight, unless something else has been computed before.
        passes = node.op_type in PASSING and not all(v in computed for v in inputs)
        if not passes:
            nodes.add(node)
        if not passes or node.op_type == "Identity":
            computed.update(node.outputs)
    return nodes


def _has_subgraph(node: ir.Node) -> bool:
    return any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values())


def _is_plain(value: ir.Value, node: ir.Node) -> bool:
    """Whether a value is a constant that is no weight. One that is only handed on may be one: its user decides."""
    array = constant(value)
    return array is not None and (node.op_type == "Identity" or array.dtype.kind != "f" or array.size <= 1)
