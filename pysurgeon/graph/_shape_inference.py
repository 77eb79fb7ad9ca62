"""Shape inference of ONNX on a graph of onnx_ir, without its weights.

The pass that onnx_ir has for this gives sequences the type of a tensor, which no engine accepts, reads all nodes a second time, and only logs
its errors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import onnx_ir as ir

from pysurgeon.graph import _external

if TYPE_CHECKING:
    import onnx


def infer_shapes(model: ir.Model, *, strict: bool) -> Exception | None:
    """Give every value the type and the shape that follow from its operator, in place.

    Args:
        model: Its operators may be unknown; nothing follows from those.
        strict: Whether a contradiction anywhere is an error.

    Returns:
        What went wrong, in which case nothing was changed.
    """
    import onnx

    with _without_weights(model):
        proto = ir.to_proto(model)
    try:
        inferred = onnx.shape_inference.infer_shapes(proto, check_type=False, strict_mode=strict, data_prop=True)
    except Exception as error:  # noqa: BLE001  (an error of its own, or whatever the C++ below throws)
        return error
    _take_over(model.graph, inferred.graph)
    return None


@contextmanager
def _without_weights(model: ir.Model) -> Iterator[None]:
    """References to nowhere in the place of large tensors. Small ones may be shapes, whose values matter."""
    tensors = [
        (value, value.const_value)
        for graph in model.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None
        and value.const_value.nbytes >= _external.SMALLEST
        and _external.plain(value.const_value)
    ]
    try:
        for value, tensor in tensors:
            shape, name = ir.Shape(tensor.shape.numpy()), value.name or ""
            value.const_value = ir.ExternalTensor("", 0, tensor.nbytes, tensor.dtype, shape=shape, name=name)
        yield
    finally:
        for value, tensor in tensors:
            value.const_value = tensor


def _take_over(graph: ir.Graph, proto: onnx.GraphProto) -> None:
    values = {str(o.name): o for node in graph for o in node.outputs}
    for info in (*proto.value_info, *proto.output):
        value = values.get(info.name)
        if value is None:
            continue
        type_ = ir.serde.deserialize_type_proto_for_type(info.type)
        shape = ir.serde.deserialize_type_proto_for_shape(info.type)
        if type_ is not None and value.type != type_:
            value.type = type_
        if shape is not None and value.shape != shape:
            value.shape = shape
    for node, inner in zip(graph, proto.node, strict=True):
        for attribute in inner.attribute:
            own = node.attributes.get(attribute.name)
            if own is not None and attribute.HasField("g"):
                _take_over(own.as_graph(), attribute.g)
