"""What a file may be, decided where it is read: the structure of its message, before a library sees more of it than its bytes.

The checker of ONNX asks whether a model means something, and takes for granted what it is asked about: that tensors hold what their shapes say, that
windows and strides are positive, that functions end. What is let in here is so. What stands in a file and cannot be is refused with the name
of the node or tensor that it stands in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import TYPE_CHECKING

import onnx_ir as ir

from pysurgeon.errors import ModelError, SurgeonError

if TYPE_CHECKING:
    import onnx

_DEEPEST = 16  # graphs in graphs
_HIGHEST_RANK = 64
_LARGEST_SIZE = 2**40  # of a dimension: the product of two is still a number
_LARGEST_COUNT = 2**31 - 1
_MOST_INLINED = 200_000  # nodes that functions may become

# Attributes of standard operators that count something, so that there is at least one of it.
_POSITIVE = frozenset(
    "blocksize dilations group hidden_size kernel_shape kv_num_heads num_groups num_outputs num_scan_inputs output_height output_width "
    "pooled_shape q_num_heads size strides".split()
)


def admit(proto: onnx.ModelProto) -> None:
    """See that a message is of a form that can be looked at.

    Args:
        proto: Not modified.

    Raises:
        ModelError: It is not. The message begins with what is wrong, in lower case.
    """
    _graph(proto.graph, 0)
    for function in proto.functions:
        _nodes(function.node, 0)
    _functions(proto)


@contextmanager
def refusing(origin: str, what: str = "") -> Iterator[None]:
    """Whatever goes wrong inside that nobody has foreseen is a refusal of the file.

    Args:
        origin: What errors call it.
        what: The place in it, as the rest of a sentence.

    Raises:
        ModelError: Something did, other than an error of ours.
    """
    try:
        yield
    except (SurgeonError, KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        message = (
            f"{origin} holds something that cannot be read{what} ({type(error).__name__}{': ' if said else ''}{said})"
        )
        raise ModelError(message) from error


def _refuse(message: str) -> None:
    raise ModelError(message)


def _graph(graph: onnx.GraphProto, depth: int) -> None:
    if depth > _DEEPEST:
        _refuse(f"it has graphs in graphs, more than {_DEEPEST} deep")
    _once((t.name for t in graph.initializer), "tensor")
    _once((v.name for v in graph.input), "input")
    _once((v.name for v in graph.output), "output")
    _once((name for node in graph.node for name in node.output if name), "value")
    for tensor in graph.initializer:
        _tensor(tensor, f"tensor {tensor.name!r}")
    if graph.sparse_initializer:
        _refuse(
            f"tensor {graph.sparse_initializer[0].values.name!r} is sparse, which is not supported; store it in full"
        )
    for value in (*graph.input, *graph.output, *graph.value_info):
        _declared(value)
    _nodes(graph.node, depth)


def _once(names: Iterable[str], what: str) -> None:
    name, count = next(iter(Counter(names).most_common(1)), ("", 0))
    if count > 1:
        _refuse(f"there are {count} of the {what} {name!r}; every name stands for one")


def _declared(value: onnx.ValueInfoProto) -> None:
    if not value.type.HasField("tensor_type"):
        return
    sizes = [d.dim_value for d in value.type.tensor_type.shape.dim if d.HasField("dim_value")]
    if len(value.type.tensor_type.shape.dim) > _HIGHEST_RANK or max(sizes, default=0) > _LARGEST_SIZE:
        _refuse(f"the shape of {value.name!r} is beyond what anybody could compute with")


def _nodes(nodes: Sequence[onnx.NodeProto], depth: int) -> None:
    for node in nodes:
        if not node.op_type:
            _refuse(f"{_called(node)} has no operator")
        _once((a.name for a in node.attribute), f"attribute of {_called(node)}")
        for attribute in node.attribute:
            _attribute(node, attribute, depth)


def _attribute(node: onnx.NodeProto, attribute: onnx.AttributeProto, depth: int) -> None:
    import onnx

    where = f"attribute {attribute.name!r} of {_called(node)}"
    if attribute.HasField("t"):
        _tensor(attribute.t, where)
    for tensor in attribute.tensors:
        _tensor(tensor, where)
    if attribute.HasField("g"):
        _graph(attribute.g, depth + 1)
    for graph in attribute.graphs:
        _graph(graph, depth + 1)
    numbers = [*attribute.ints, *([attribute.i] if attribute.type == onnx.AttributeProto.INT else [])]
    if node.domain in ("", "ai.onnx") and attribute.name in _POSITIVE and min(numbers, default=1) < 1:
        _refuse(f"{where} is {min(numbers)}; it counts something, from 1 on")
    if (
        node.domain in ("", "ai.onnx")
        and attribute.name in _POSITIVE
        and max(numbers, default=1) > _largest(attribute.name)
    ):
        _refuse(f"{where} is {max(numbers)}, more than anybody could compute with")
    if (
        len(attribute.ints) > _HIGHEST_RANK
        and node.op_type != "Constant"
        and attribute.name in _POSITIVE | {"pads", "perm", "axes"}
    ):
        _refuse(f"{where} has {len(attribute.ints)} numbers, more than a tensor has axes")


def _largest(name: str) -> int:
    return 2**15 if name == "blocksize" else _LARGEST_COUNT  # that one is squared


def _called(node: onnx.NodeProto) -> str:
    name = f" {node.name!r}" if node.name else f" that gives {node.output[0]!r}" if node.output else ""
    return f"{node.op_type or 'the node'}{name}" if node.name else f"the {node.op_type or 'node'}{name}"


def _tensor(tensor: onnx.TensorProto, where: str) -> None:
    """The shape of a tensor and the bytes that it has of it. What lies in another file is looked for there."""
    import onnx

    try:
        dtype = ir.DataType(tensor.data_type)
    except ValueError:
        dtype = ir.DataType.UNDEFINED
    if dtype == ir.DataType.UNDEFINED:
        _refuse(f"{where} has elements of type {tensor.data_type}, which there is not")
    shape = list(tensor.dims)
    if len(shape) > _HIGHEST_RANK or any(not 0 <= d <= _LARGEST_SIZE for d in shape):
        _refuse(f"{where} has the shape {tuple(shape[:8])}, which no tensor can have")
    count = prod(shape)
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return
    there = len(getattr(tensor, _FIELDS.get(dtype, "int32_data")))
    # Whoever reads it looks at the bytes wherever the field is there, be it empty.
    if dtype != ir.DataType.STRING and (tensor.HasField("raw_data") or not there):
        wanted, there, what = (count * dtype.bitwidth + 7) // 8, len(tensor.raw_data), "bytes"
    else:
        wanted, what = _typed(dtype, count), "numbers"
    if wanted != there:
        _refuse(
            f"{where} has the shape {tuple(shape)} of {dtype.name}, which takes {wanted:,} {what}, and {there:,} are there"
        )


# Where the numbers of a type are that is not written as bytes; all others share a field.
_FIELDS = {
    ir.DataType.FLOAT: "float_data",
    ir.DataType.COMPLEX64: "float_data",
    ir.DataType.DOUBLE: "double_data",
    ir.DataType.COMPLEX128: "double_data",
    ir.DataType.INT64: "int64_data",
    ir.DataType.UINT32: "uint64_data",
    ir.DataType.UINT64: "uint64_data",
    ir.DataType.STRING: "string_data",
}


def _typed(dtype: ir.DataType, count: int) -> int:
    """How many numbers of a field stand for so many elements."""
    if dtype in (ir.DataType.COMPLEX64, ir.DataType.COMPLEX128):
        return 2 * count
    if dtype != ir.DataType.STRING and dtype.bitwidth < 8:
        return -(-count * dtype.bitwidth // 8)
    return count


def _functions(proto: onnx.ModelProto) -> None:
    """See that functions that use one another come to an end, and soon."""
    bodies = {(f.domain, f.name): f for f in proto.functions}
    sizes: dict[tuple[str, str], int] = {}

    def size(key: tuple[str, str], above: tuple[tuple[str, str], ...]) -> int:
        if key in above or len(above) > _DEEPEST * 4:
            _refuse(f"function {key[1]!r} is made of itself")
        if key not in sizes:
            sizes[key] = total(bodies[key].node, (*above, key))
        return sizes[key]

    def total(nodes: Iterable[onnx.NodeProto], above: tuple[tuple[str, str], ...]) -> int:
        count = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            count += size(key, above) if key in bodies else 1
            for attribute in node.attribute:
                for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                    count += total(graph.node, above)
            if count > max(_MOST_INLINED, 2 * len(proto.graph.node)):
                _refuse(f"its functions, written out, are more than {_MOST_INLINED:,} nodes")
        return count

    if bodies:
        total(proto.graph.node, ())
        for key in bodies:
            size(key, ())
