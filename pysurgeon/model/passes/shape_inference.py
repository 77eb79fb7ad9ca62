"""Shape inference of ONNX on a graph of onnx_ir, without its weights.

The pass that onnx_ir has for this gives sequences the type of a tensor, which no engine accepts, reads all nodes a second time, and only logs
its errors.

The inference of ONNX is C++ that asserts what a file need not heed: a negative size ends the process. So a whole graph goes through it in a
process apart, and single nodes only behind that, with sizes that are none of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from pysurgeon.apart import Helper
from pysurgeon.graph import external_data

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
        content = _helper().ask(bytes([strict]) + proto.SerializeToString())
        inferred = onnx.load_model_from_string(content)
        _check_sizes(inferred.graph)
    except Exception as error:  # noqa: BLE001  (what its C++ throws has many classes, and it may not live to throw)
        return error
    _take_over(model.graph, inferred.graph)
    return None


def infer_node(
    schema: onnx.defs.OpSchema,
    node: onnx.NodeProto,
    types: Mapping[str, onnx.TypeProto],
    data: Mapping[str, onnx.TensorProto],
    opsets: Sequence[onnx.OperatorSetIdProto],
) -> dict[str, onnx.TypeProto]:
    """The types and shapes that one node gives.

    Args:
        schema: Of its operator.
        node: Of a graph that `infer_shapes` has seen, or made by us.
        types: Of its inputs, by name.
        data: Values of its inputs, by name, where they are known.
        opsets: Of the graph.

    Raises:
        ValueError: A size that goes in or comes out is negative.
        Exception: It does not fit; onnx raises several classes.
    """
    import onnx

    _refuse_negative(types.items())
    found: dict[str, onnx.TypeProto] = onnx.shape_inference.infer_node_outputs(
        schema, node, dict(types), dict(data), None, list(opsets)
    )
    _refuse_negative(found.items())
    return found


def contradiction(model: ir.Model) -> Exception | None:
    """What is wrong with the first node that does not take what it gets, by shapes alone; nothing where all do.

    Inference that is not strict says nothing of it, and neither do some kernels, which then read what is not theirs.

    Args:
        model: With the shapes that were inferred.
    """
    import onnx

    versions = dict(model.graph.opset_imports)
    opsets = [onnx.helper.make_opsetid(domain, version) for domain, version in versions.items()]
    for node in model.graph:
        given = [v for v in node.inputs if v is not None]
        if node.domain or any(v.dtype is None or v.shape is None for v in given) or _holds_graphs(node):
            continue
        types = {
            str(v.name): onnx.helper.make_tensor_type_proto(
                v.dtype.value, [d if isinstance(d, int) else d.value for d in v.shape or ()]
            )
            for v in given
            if v.dtype is not None
        }
        try:
            schema = onnx.defs.get_schema(node.op_type, versions.get("", 1), "")
            infer_node(schema, ir.to_proto(node), types, {}, opsets)
        except Exception as error:  # noqa: BLE001  (onnx raises several classes)
            name = node.name or next((o.name for o in node.outputs if o.name), "")
            said = " ".join(str(error).split())
            return ValueError(f"{node.op_type} {name!r}: {said}")
    return None


def _holds_graphs(node: ir.Node) -> bool:
    return any(a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for a in node.attributes.values())


# Only the extension module is loaded, past the package around it, which takes ten times as long.
_CODE = """
import types
package = types.ModuleType("onnx")
package.__path__ = [{folder!r}]
sys.modules["onnx"] = package
from onnx.onnx_cpp2py_export import shape_inference
def answer(request):
    return shape_inference.infer_shapes(request[1:], False, bool(request[0]), True)
"""


@cache
def _helper() -> Helper:
    found = find_spec("onnx")
    assert found is not None
    assert found.origin is not None
    return Helper("the shape inference of onnx", _CODE.format(folder=str(Path(found.origin).parent)), imports=False)


def _check_sizes(graph: onnx.GraphProto) -> None:
    _refuse_negative((info.name, info.type) for info in (*graph.value_info, *graph.output))
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _check_sizes(attribute.g)


def _refuse_negative(types: Iterable[tuple[str, Any]]) -> None:
    for name, kind in types:
        if kind.HasField("tensor_type"):
            sizes = [d.dim_value for d in kind.tensor_type.shape.dim if d.HasField("dim_value")]
            if sizes and min(sizes) < 0:
                message = f"{name!r} would have the size {min(sizes)} along an axis"
                raise ValueError(message)


@contextmanager
def _without_weights(model: ir.Model) -> Iterator[None]:
    """References to nowhere in the place of large tensors. Small ones may be shapes, whose values matter."""
    tensors = [
        (value, value.const_value)
        for graph in model.graphs()
        for value in graph.initializers.values()
        if value.const_value is not None
        and value.const_value.nbytes >= external_data.SMALLEST
        and external_data.plain(value.const_value)
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
