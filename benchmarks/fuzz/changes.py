"""Changes of a message that keep it a message: what a careless exporter, a damaged file or somebody with an intent could have written."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

NUMBERS = (-(2**63), -(2**31), -1000, -2, -1, 0, 1, 2, 3, 5, 64, 1000, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1)
FLOATS = (0.0, -1.0, 1.0, 0.5, 1e30, -1e30, float("inf"), float("nan"))
OPERATORS = (
    "Add Mul Relu MatMul Gemm Conv ConvTranspose Concat Split Slice Gather Reshape Transpose Squeeze Unsqueeze Flatten Expand Tile Pad Resize Shape Size Cast Softmax "
    "ReduceMean ReduceSum BatchNormalization LayerNormalization InstanceNormalization GroupNormalization MaxPool AveragePool GlobalAveragePool LSTM GRU RNN Einsum TopK "
    "ArgMax CumSum Where ConstantOfShape Range OneHot Identity Dropout If Loop Scan Constant DequantizeLinear QuantizeLinear DepthToSpace SpaceToDepth Clip PRelu Attention "
    "RotaryEmbedding RMSNormalization GridSample RoiAlign ScatterND GatherND GatherElements ReverseSequence Upsample NonZero Trilu EyeLike SequenceAt SplitToSequence Mystery"
).split()
TEXTS = ("", "x", "SAME_UPPER", "VALID", "NOTSET", "linear", "ij,jk->ik", "...i,ii->", "\u202e[/]\x1b[2J", "a" * 5000)
DATA_TYPES = (0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 14, 16, 17, 21, 22, 99)


def changed(proto: onnx.ModelProto, rng: random.Random) -> bytes:
    """The bytes of a file that differs from a model in one to four places.

    Args:
        proto: May be modified.
        rng: Decides where and how.
    """
    for _ in range(rng.choice((1, 1, 2, 3, 4))):
        # A number that the field cannot hold, or nothing there to be changed.
        with contextlib.suppress(Exception):
            rng.choice(_CHANGES)(proto, rng)
    content = proto.SerializeToString()
    if rng.random() < 0.08 and content:
        content = _damaged(bytearray(content), rng)
    return content


def _damaged(content: bytearray, rng: random.Random) -> bytes:
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(content))
        content[place] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    if rng.random() < 0.2:
        del content[rng.randrange(len(content)) :]
    return bytes(content)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def _graph(proto: onnx.ModelProto, rng: random.Random) -> onnx.GraphProto:
    return rng.choice(list(_graphs(proto.graph)))


def _node(proto: onnx.ModelProto, rng: random.Random) -> onnx.NodeProto:
    nodes = [n for g in _graphs(proto.graph) for n in g.node] + [n for f in proto.functions for n in f.node]
    return rng.choice(nodes)


def _names(proto: onnx.ModelProto) -> list[str]:
    graph = proto.graph
    return [
        *(v.name for v in graph.input),
        *(t.name for t in graph.initializer),
        *(o for n in graph.node for o in n.output),
        "",
    ]


def _attribute_number(proto: onnx.ModelProto, rng: random.Random) -> None:
    nodes = [n for g in _graphs(proto.graph) for n in g.node if any(a.type in (1, 2, 6, 7) for a in n.attribute)]
    attribute = rng.choice([a for a in rng.choice(nodes).attribute if a.type in (1, 2, 6, 7)])
    if attribute.type == AttributeProto.INT:
        attribute.i = rng.choice(NUMBERS)
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = rng.choice(FLOATS)
    elif attribute.type == AttributeProto.INTS:
        _list(attribute.ints, rng, NUMBERS)
    else:
        _list(attribute.floats, rng, FLOATS)


def _list(numbers: object, rng: random.Random, choices: tuple[float, ...]) -> None:
    values = list(numbers)  # type: ignore[call-overload]
    way = rng.randrange(4)
    if way == 0 and values:
        values[rng.randrange(len(values))] = rng.choice(choices)
    elif way == 1:
        values.append(rng.choice(choices))
    elif way == 2 and values:
        values.pop(rng.randrange(len(values)))
    else:
        values = [rng.choice(choices) for _ in range(rng.choice((0, 1, 2, 8, 100)))]
    del numbers[:]  # type: ignore[attr-defined]
    numbers.extend(values)  # type: ignore[attr-defined]


def _attribute_set(proto: onnx.ModelProto, rng: random.Random) -> None:
    node = _node(proto, rng)
    try:
        schema = onnx.defs.get_schema(node.op_type, 17, node.domain)
        known = sorted(schema.attributes) or ["axis"]
    except onnx.defs.SchemaError:
        known = ["axis", "perm", "axes", "group", "to"]
    name = rng.choice(known)
    kept = [a for a in node.attribute if a.name != name or rng.random() < 0.1]
    del node.attribute[:]
    node.attribute.extend(kept)
    if rng.random() < 0.8:
        value = rng.choice(
            [
                rng.choice(NUMBERS),
                [rng.choice(NUMBERS) for _ in range(rng.randrange(5))] or [1],
                rng.choice(FLOATS),
                rng.choice(TEXTS),
            ]
        )
        node.attribute.append(helper.make_attribute(name, value))


def _attribute_kind(proto: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice([n for g in _graphs(proto.graph) for n in g.node if n.attribute])
    attribute = rng.choice(list(node.attribute))
    way = rng.randrange(3)
    if way == 0:
        attribute.type = rng.choice([1, 2, 3, 4, 5, 6, 7, 8])
    elif way == 1:
        node.attribute.add().CopyFrom(attribute)
    else:
        attribute.name = rng.choice(("axis", "perm", "group", "kernel_shape", "value", "body", "to", ""))


def _operator(proto: onnx.ModelProto, rng: random.Random) -> None:
    node = _node(proto, rng)
    node.op_type = rng.choice((*OPERATORS, "", rng.choice(TEXTS)))
    if rng.random() < 0.1:
        node.domain = rng.choice(("com.microsoft", "ai.onnx.ml", "own", "nowhere"))


def _inputs(proto: onnx.ModelProto, rng: random.Random) -> None:
    node, names = _node(proto, rng), _names(proto)
    way, inputs = rng.randrange(4), list(node.input)
    if way == 0 and inputs:
        inputs[rng.randrange(len(inputs))] = rng.choice(names)
    elif way == 1:
        inputs.append(rng.choice(names))
    elif way == 2 and inputs:
        inputs.pop(rng.randrange(len(inputs)))
    else:
        rng.shuffle(inputs)
    del node.input[:]
    node.input.extend(inputs)


def _outputs(proto: onnx.ModelProto, rng: random.Random) -> None:
    node = _node(proto, rng)
    way, outputs = rng.randrange(4), list(node.output)
    if way == 0 and outputs:
        outputs[rng.randrange(len(outputs))] = rng.choice(_names(proto))
    elif way == 1:
        outputs.append(rng.choice(("extra", "", "y")))
    elif way == 2 and outputs:
        outputs.pop()
    else:
        outputs = []
    del node.output[:]
    node.output.extend(outputs)


def _order(proto: onnx.ModelProto, rng: random.Random) -> None:
    graph = _graph(proto, rng)
    nodes = list(graph.node)
    way = rng.randrange(4)
    if way == 0:
        rng.shuffle(nodes)
    elif way == 1:
        nodes.insert(rng.randrange(len(nodes)), rng.choice(nodes))
    elif way == 2:
        nodes.pop(rng.randrange(len(nodes)))
    else:
        nodes.insert(
            0,
            helper.make_node(
                rng.choice(OPERATORS), rng.choices(_names(proto), k=rng.randrange(4)), [rng.choice(("new", "new2"))]
            ),
        )
    copies = [onnx.NodeProto.FromString(n.SerializeToString()) for n in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _tensor(proto: onnx.ModelProto, rng: random.Random) -> None:
    tensors = [t for g in _graphs(proto.graph) for t in g.initializer]
    tensors += [a.t for g in _graphs(proto.graph) for n in g.node for a in n.attribute if a.HasField("t")]
    tensor = rng.choice(tensors)
    way = rng.randrange(8)
    if way == 0:
        _list(tensor.dims, rng, NUMBERS)
    elif way == 1:
        tensor.data_type = rng.choice(DATA_TYPES)
    elif way == 2:
        tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data) + 1)]
    elif way == 3:
        tensor.raw_data = tensor.raw_data + bytes(rng.randrange(1, 9))
    elif way == 4:
        tensor.name = rng.choice(_names(proto))
    elif way == 5:
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", rng.choice(("model.onnx", "/etc/passwd", "../x", "", "nowhere"))
    else:
        _values(tensor, rng)


def _values(tensor: TensorProto, rng: random.Random) -> None:
    """Another number in a tensor, or another shape of the same type that its bytes fit."""
    array = np.array(numpy_helper.to_array(tensor))
    if rng.random() < 0.6 and array.size:
        choices = NUMBERS if array.dtype.kind in "iu" else FLOATS
        with np.errstate(all="ignore"):
            flat = array.reshape(-1)
            flat[rng.randrange(array.size)] = np.array(rng.choice(choices)).astype(array.dtype)
    else:
        shape = [rng.choice((0, 1, 2, 3, 4, 7)) for _ in range(rng.randrange(5))]
        array = np.resize(array, shape) if array.size else np.zeros(shape, array.dtype)
    name = tensor.name
    tensor.CopyFrom(numpy_helper.from_array(array, name))


def _declared(proto: onnx.ModelProto, rng: random.Random) -> None:
    graph = _graph(proto, rng)
    ports = [*graph.input, *graph.output, *graph.value_info]
    port = rng.choice(ports)
    kind = port.type.tensor_type
    way = rng.randrange(6)
    if way == 0 and kind.shape.dim:
        kind.shape.dim[rng.randrange(len(kind.shape.dim))].dim_value = rng.choice(NUMBERS)
    elif way == 1 and kind.shape.dim:
        kind.shape.dim[rng.randrange(len(kind.shape.dim))].dim_param = rng.choice(("N", "M", "", "H", "2*N"))
    elif way == 2:
        kind.elem_type = rng.choice(DATA_TYPES)
    elif way == 3:
        kind.shape.dim.add().dim_value = rng.choice(NUMBERS)
    elif way == 4:
        kind.ClearField("shape")
    else:
        port.ClearField("type")


def _ports(proto: onnx.ModelProto, rng: random.Random) -> None:
    graph = proto.graph
    way = rng.randrange(5)
    ports = rng.choice((graph.input, graph.output))
    if way == 0 and ports:
        ports.add().CopyFrom(rng.choice(list(ports)))
    elif way == 1 and ports:
        ports.pop()
    elif way == 2:
        ports.add().CopyFrom(helper.make_tensor_value_info(rng.choice(_names(proto)), 1, [rng.choice((1, 2, 4, "N"))]))
    elif way == 3 and ports:
        ports[0].name = rng.choice(_names(proto))
    else:
        name = rng.choice([o for n in graph.node for o in n.output])
        graph.value_info.add().CopyFrom(
            helper.make_tensor_value_info(name, rng.choice((1, 7)), [rng.choice(("N", 2, 3, -1, 0))] * rng.randrange(4))
        )


def _versions(proto: onnx.ModelProto, rng: random.Random) -> None:
    way = rng.randrange(3)
    if way == 0:
        rng.choice(list(proto.opset_import)).version = rng.choice(
            (-1, 0, 1, 6, 7, 9, 11, 13, 18, 20, 21, 22, 23, 25, 999, 2**40)
        )
    elif way == 1:
        proto.ir_version = rng.choice((0, 1, 3, 4, 8, 10, 13, 2**40))
    else:
        rng.choice(list(proto.opset_import)).domain = rng.choice(("", "ai.onnx", "own", "com.microsoft"))


def _nested(proto: onnx.ModelProto, rng: random.Random) -> None:
    graph = proto.graph
    inner = onnx.GraphProto.FromString(graph.SerializeToString())
    del inner.input[:]
    node = _node(proto, rng)
    node.op_type = rng.choice(("If", "Loop", "Scan", node.op_type))
    for name in {"If": ("then_branch", "else_branch")}.get(node.op_type, ("body",)):
        node.attribute.append(helper.make_attribute(name, inner))


def _functions(proto: onnx.ModelProto, rng: random.Random) -> None:
    function = rng.choice(list(proto.functions))
    way = rng.randrange(4)
    if way == 0:
        rng.choice(list(function.node)).op_type = function.name
        rng.choice(list(function.node)).domain = function.domain
    elif way == 1:
        proto.functions.add().CopyFrom(function)
    elif way == 2:
        function.output.append(rng.choice(("nothing", "a", "b")))
    else:
        del function.opset_import[:]


_CHANGES: tuple[Callable[[onnx.ModelProto, random.Random], None], ...] = (
    _attribute_number, _attribute_number, _attribute_set, _attribute_kind, _operator, _operator, _inputs, _inputs, _outputs, _order, _tensor, _tensor, _tensor, _declared,
    _declared, _ports, _versions, _nested, _functions,
)  # fmt: skip
