"""Half precision read as single precision, beside onnxruntime running the halves; and files whose nodes are in any order."""

from __future__ import annotations

import warnings

import models
import numpy as np
import onnx
import pytest
from checks import assert_valid
from onnx import TensorProto, helper, numpy_helper

from pysurgeon.errors import ModelError
from pysurgeon.graph import Array
from pysurgeon.model import Model, from_proto, load, save
from pysurgeon.model.feeds import random_feeds
from pysurgeon.model.session import NEWEST_IR, Session, output_error
from pysurgeon.surgery import Widen, operate
from pysurgeon.widths.structure import Structure

NAMES = [n for n in models.RUNNABLE if n not in ("float64.legacy", "old_norm")]
HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


def halved(proto: onnx.ModelProto, *, keep_io: bool) -> onnx.ModelProto:
    """What onnxruntime's own tool makes of a model."""
    from onnxruntime.transformers import float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # small weights become zeros, it says
        return float16.convert_float_to_float16(proto, keep_io_types=keep_io)


def run(proto: onnx.ModelProto, feeds: dict[str, Array]) -> dict[str, Array]:
    import onnxruntime as ort

    proto.ir_version = min(proto.ir_version, NEWEST_IR)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    types = {i.name: np.float16 if i.type == "tensor(float16)" else None for i in session.get_inputs()}
    values = session.run(None, {n: a.astype(types[n]) if types[n] else a for n, a in feeds.items()})
    return {o.name: v.astype(np.float32) for o, v in zip(session.get_outputs(), values, strict=True)}


def types(model: Model) -> set[int]:
    """Of all values and tensors that a saved model names."""
    graph = model.to_proto().graph
    values = [*graph.input, *graph.value_info, *graph.output]
    return {v.type.tensor_type.elem_type for v in values} | {t.data_type for t in graph.initializer}


@pytest.mark.parametrize("keep_io", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_halves_are_read_as_what_they_are(name: str, keep_io: bool) -> None:
    proto = halved(models.build(name), keep_io=keep_io)
    model = from_proto(proto)
    assert any("half precision" in note for note in model.notes)
    assert not types(model) & set(HALVES)
    assert_valid(model, like=model)
    feeds = random_feeds(model, batch=3, seed=7)
    rounded = {n: a.astype(np.float16).astype(np.float32) if a.dtype == np.float32 else a for n, a in feeds.items()}
    assert output_error(run(proto, rounded), Session(model).run(rounded)) <= 2e-2


@pytest.mark.parametrize("name", ["cnn.legacy", "attention.legacy", "residual.legacy"])
def test_halves_can_be_operated_on(name: str) -> None:
    plain, model = from_proto(models.build(name)), from_proto(halved(models.build(name), keep_io=True))
    structure = Structure(model)
    names = [w.name for w in structure.widths if w.resizable]
    assert names == [w.name for w in Structure(plain).widths if w.resizable]
    for width in names:
        done = operate(model, Widen(width, 2 * structure.width(width).size))
        assert done.record.measured_error <= 1e-5


def test_weights_in_bfloat16_are_the_same_numbers(tmp_path) -> None:
    rng = np.random.default_rng(0)
    # bfloat16 is the upper half of a float32.
    weights = [
        (rng.standard_normal(s).astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)
        for s in ((8, 5), (3, 8))
    ]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["x"], ["h0"], to=TensorProto.BFLOAT16),
            helper.make_node("Gemm", ["h0", "w1"], ["h1"], transB=1),
            helper.make_node("Relu", ["h1"], ["h2"]),
            helper.make_node("Constant", [], ["w2"], value=_bfloat16(weights[1])),
            helper.make_node("Gemm", ["h2", "w2"], ["y"], transB=1),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 5])],
        [helper.make_tensor_value_info("y", TensorProto.BFLOAT16, ["N", 3])],
        [_bfloat16(weights[0], "w1")],
    )
    model = from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    assert types(model) == {TensorProto.FLOAT}
    assert [n.op_type for n in model.nodes] == ["Gemm", "Relu", "Gemm"]
    x = rng.standard_normal((4, 5)).astype(np.float32)
    expected = np.maximum(x @ weights[0].T, 0) @ weights[1].T
    again = load(save(model, tmp_path / "m.onnx"))
    assert not again.notes
    np.testing.assert_allclose(Session(again).run({"x": x})["y"], expected, rtol=1e-5, atol=1e-5)


def _bfloat16(array: Array, name: str = "") -> onnx.TensorProto:
    bits = (array.view(np.uint32) >> 16).astype(np.uint16)
    return onnx.TensorProto(name=name, data_type=TensorProto.BFLOAT16, dims=array.shape, raw_data=bits.tobytes())


def test_types_inside_branches_and_sequences_follow() -> None:
    # Halves are written as their bits: that is a 2.
    text = """net (float16[N, 4] x, bool c) => (float16[N, 4] y) {
        parts = SplitToSequence <axis = 0> (x)
        p = ConcatFromSequence <axis = 0> (parts)
        y = If (c) <
            then_branch = a () => (float16[N, 4] t) { t = Neg (p) },
            else_branch = b () => (float16[N, 4] u) {
                f = Constant <value = float16 {16384}> ()
                u = Mul (p, f)
            }
        >
    }"""
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> {text}')
    model = from_proto(proto)
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    session = Session(model)
    for c, factor in ((True, -1), (False, 2)):
        np.testing.assert_array_equal(session.run({"x": x, "c": np.array(c)})["y"], factor * x)


# --- casts that do nothing ------------------------------------------------------------------------------------------------


def cast_model(body: str, outputs: str = "float[N, 3] y") -> Model:
    proto = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> net (float[N, 4] x) => ({outputs}) {{{body}}}'
    )
    proto.graph.initializer.append(numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(4, 3), "w"))
    return from_proto(proto)


@pytest.mark.parametrize(
    ("body", "outputs", "left"),
    [
        ("a = MatMul (x, w) y = Cast <to = 1> (a)", "float[N, 3] y", 0),
        ("a = MatMul (x, w) b = Cast <to = 1> (a) y = Relu (b)", "float[N, 3] y", 0),
        ("y = MatMul (x, w) z = Cast <to = 1> (y)", "float[N, 3] y, float[N, 3] z", 1),
        ("y = Cast <to = 1> (x)", "float[N, 4] y", 1),
        ("a = MatMul (x, w) y = Cast <to = 11> (a)", "double[N, 3] y", 1),
    ],
)
def test_a_cast_to_the_type_that_there_is_goes_unless_both_names_are_needed(body: str, outputs: str, left: int) -> None:
    model = cast_model(body, outputs)
    assert sum(n.op_type == "Cast" for n in model.nodes) == left
    x = np.arange(-4, 4, dtype=np.float32).reshape(2, 4)
    found = Session(model).run({"x": x})
    product = x @ np.arange(12, dtype=np.float32).reshape(4, 3)
    for port in model.outputs:
        expected = x if port.shape[1] == 4 else np.maximum(product, 0) if "Relu" in body else product
        assert found[port.name].dtype == port.dtype
        np.testing.assert_allclose(found[port.name], expected)


# --- nodes in any order -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cnn.legacy", "attention.legacy", "subgraph"])
def test_nodes_may_come_in_any_order(name: str) -> None:
    proto = models.build(name)
    expected = from_proto(proto).to_proto()
    nodes = list(proto.graph.node)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(nodes))
        del proto.graph.node[:]
        proto.graph.node.extend(nodes[k] for k in order)
        with pytest.raises(onnx.checker.ValidationError):
            onnx.checker.check_model(proto)
        model = from_proto(proto)
        assert_valid(model, like=model)
        feeds = random_feeds(model, batch=3, seed=1)
        before = Session(from_proto(expected)).run(feeds)
        assert output_error(before, Session(model).run(feeds)) <= 1e-6


@pytest.mark.parametrize(
    "body", ["a = Relu (missing) y = Relu (a)", "a = Relu (b) b = Relu (a) y = Add (x, b)"], ids=["missing", "circle"]
)
def test_what_no_order_mends_is_refused(body: str) -> None:
    proto = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["": 17]> net (float[N, 4] x) => (float[N, 4] y) {{{body}}}'
    )
    with pytest.raises(ModelError, match="not a valid ONNX model"):
        from_proto(proto)
