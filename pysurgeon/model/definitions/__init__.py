"""What operators of other domains mean, in standard ones: one registry, one small file a domain.

Exporters and optimizers write operators that only some engines know. Written out, they have shapes, widths and gradients like all others.
"""

from __future__ import annotations

from collections import Counter

import onnx_ir as ir

from pysurgeon.graph.builder import Builder, CannotWriteError
from pysurgeon.graph.names import Names, value_names
from pysurgeon.model.definitions import microsoft, scikit_learn
from pysurgeon.model.passes.shape_inference import infer_shapes

DEFINITIONS = {**microsoft.DEFINITIONS, **scikit_learn.DEFINITIONS}


def define(model: ir.Model) -> list[str]:
    """Write such operators by their definitions, in place. Returns notes for the user.

    A node that uses what its definition does not cover stays as it is.

    Args:
        model: In topological order.
    """
    graph = model.graph
    names, opset = Names(value_names(graph)), graph.opset_imports.get("", 0)
    written: Counter[str] = Counter()
    while waiting := [n for n in graph if (n.domain, n.op_type) in DEFINITIONS]:
        infer_shapes(
            model, strict=False
        )  # some definitions have to know shapes, which end at the first operator that is not standard
        before = written.total()
        for node in waiting:
            build = Builder(node, opset, names)
            try:
                _single_precision(node)
                values = build.applied(DEFINITIONS[node.domain, node.op_type])
            except CannotWriteError:
                continue  # what it may have written by then is dropped with all that nobody uses
            for name, value in build.replace(values):
                value.name = name
            written[node.op_type] += 1
        if written.total() == before:
            break
    if not written:
        return []
    return [f"written in standard operators: {', '.join(f'{n} {name}' for name, n in written.items())}"]


def _single_precision(node: ir.Node) -> None:
    """See that a node computes in float32, as the constants of definitions are. What is not known yet may be later."""
    found = {v.dtype for v in node.inputs if v is not None and v.dtype is not None and v.dtype.is_floating_point()}
    if found != {ir.DataType.FLOAT}:
        message = "it does not compute in float32"
        raise CannotWriteError(message)
