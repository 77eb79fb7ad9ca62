"""Normalization keeps the function of the file, and says what it changed."""

from __future__ import annotations

import models
import numpy as np
import onnx
import pytest
from checks import assert_valid, loaded
from onnx import TensorProto, helper, numpy_helper

from pysurgeon.graph import Array, constant
from pysurgeon.model import Model, from_proto
from pysurgeon.model.feeds import random_feeds
from pysurgeon.model.session import NEWEST_IR, Session, output_error
from pysurgeon.widths.structure import Structure


def run_file(proto: onnx.ModelProto, feeds: dict[str, Array]) -> dict[str, Array]:
    """What the file itself computes, without anything of ours."""
    import onnxruntime as ort

    proto.ir_version = min(proto.ir_version, NEWEST_IR)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    double = {i.name for i in session.get_inputs() if i.type == "tensor(double)"}  # which are read as float32
    feeds = {name: a.astype(np.float64) if name in double else a for name, a in feeds.items()}
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds), strict=True))


def reshapes_with_computed_shape(model: Model) -> int:
    return sum(node.op_type == "Reshape" and constant(node.inputs[1]) is None for node in model.nodes)


@pytest.mark.parametrize("name", [n for n in models.RUNNABLE if n != "old_norm"])
def test_the_function_of_the_file_is_kept(name):
    model = loaded(name)
    for batch in (1, 5):
        feeds = random_feeds(model, batch=batch, seed=7)
        assert output_error(run_file(models.build(name), feeds), Session(model).run(feeds)) <= 1e-6
    assert_valid(model, like=model)
    assert not reshapes_with_computed_shape(model)


@pytest.mark.parametrize("name", models.TRAINING_EXPORT)
def test_an_export_for_training_is_put_into_inference_mode(name):
    model, proto = loaded(name), models.build(name)
    changed = set()
    for node in proto.graph.node:
        if node.op_type == "BatchNormalization":
            del node.output[1:]
            node.attribute.remove(next(a for a in node.attribute if a.name == "training_mode"))
            changed.add(node.op_type)
        elif node.op_type == "Dropout":
            del node.input[2:]
            changed.add(node.op_type)
    feeds = random_feeds(model, batch=4, seed=3)
    assert output_error(run_file(proto, feeds), Session(model).run(feeds)) <= 1e-6
    assert len([n for n in model.notes if "float64" not in n]) == len(changed)
    assert_valid(model, like=model)


def test_the_notes_say_what_was_changed():
    assert loaded("cnn_bn.training").notes == (
        "2 BatchNormalization nodes were exported in training mode; they now use their statistics",
    )
    assert loaded("dropout.training").notes == (
        "1 Dropout nodes were exported in training mode; they now pass on what they get",
    )
    assert loaded("cnn_bn.legacy").notes == ()


def test_five_outputs_say_training_before_opset_14():
    model = loaded("old_norm")
    assert len(model.notes) == 1
    norm = next(n for n in model.nodes if n.op_type == "BatchNormalization")
    assert len(norm.outputs) == 1
    tensors = model.tensors()
    feeds = random_feeds(model, batch=3)
    x = feeds["x"].astype(np.float64)
    conv = sum(
        np.einsum("nchw,oc->nohw", x[:, :, i : i + 2, j : j + 2], tensors["w1"][:, :, i, j].astype(np.float64))
        for i in range(3)
        for j in range(3)
    )
    shaped = {k: tensors[k].reshape(1, -1, 1, 1).astype(np.float64) for k in ("scale", "shift", "mean", "var")}
    normal = (conv - shaped["mean"]) / np.sqrt(shaped["var"] + 1e-5) * shaped["scale"] + shaped["shift"]
    expected = np.clip(normal, 0, 6).mean((2, 3)) @ tensors["w2"]
    assert output_error({"y": expected}, Session(model).run(feeds)) <= 1e-5


def test_a_norm_whose_statistics_are_used_is_left_alone():
    model = models.parsed(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 3] x) => (float[N, 3] y, float[3] m) {
            y, m, v = BatchNormalization <training_mode = 1> (x, s, b, mean, var)
        }""",
        **dict.fromkeys(("s", "b", "mean", "var"), (3,)),
    )
    assert from_proto(model).notes == ()


@pytest.mark.parametrize("exporter", models.EXPORTERS)
def test_equal_tensors_that_were_merged_are_separate_again(exporter):
    """Two norms of an untrained net are equal by chance: resizing one must not touch the other."""
    model = loaded(f"untrained.{exporter}")
    assert exporter != "legacy" or any(
        n.op_type == "Identity" for n in models.build(f"untrained.{exporter}").graph.node
    )
    widths = [w for w in Structure(model).widths if w.resizable]
    assert [w.size for w in widths] == [6, 6, 8]
    written = [t for w in widths for t, _ in w.writers]
    assert len(written) == len(set(written))
    assert not any(node.op_type == "Identity" for node in model.nodes)


def test_arrays_in_constant_nodes_become_tensors_under_their_names():
    rng = np.random.default_rng(0)
    weight, bias = (rng.standard_normal(s).astype(np.float32) for s in ((3, 5), (5,)))
    nodes = [
        helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(weight, "other")),
        helper.make_node("Constant", [], ["b"], value_floats=bias.tolist()),
        helper.make_node("Constant", [], ["half"], value_float=0.5),
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Add", ["h", "b"], ["i"]),
        helper.make_node("Mul", ["i", "half"], ["j"]),
        helper.make_node("MatMul", ["j", "v"], ["y"]),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "constants",
        [info("x", TensorProto.FLOAT, ["N", 3])],
        [info("y", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(rng.standard_normal((5, 2)).astype(np.float32), "v")],
    )
    proto = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    model = from_proto(proto)
    np.testing.assert_array_equal(model.tensor("w"), weight)
    np.testing.assert_array_equal(model.tensor("b"), bias)
    assert set(model.trainable()) == {"w", "b", "v"}
    assert [n.op_type for n in model.nodes] == ["Constant", "MatMul", "Add", "Mul", "MatMul"]
    assert [w.resizable for w in Structure(model).widths] == [True, False]
    feeds = random_feeds(model)
    assert output_error(run_file(proto, feeds), Session(model).run(feeds)) <= 1e-6


def reshape_by(arithmetic: str) -> onnx.ModelProto:
    """Pixels flattened to a shape that the graph computes."""
    return models.parsed(
        f"""<ir_version: 8, opset_import: ["" : 17]> g (float[N, 2, 3, 3] x) => (float[N, 4] y)
            <int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] minus = {{-1}}, int64[1] two = {{2}}, int64[1] four = {{4}},
             int64 z = {{0}}, int64[1] nine = {{9}}, int64[1] ninety = {{90}}, int64[1] eighteen = {{18}}, float[1] three = {{3.0}}, float[1] half = {{0.5}}> {{
            c = Conv (x, w)
            s = Shape (c)
            {arithmetic}
            r = Reshape (c, t)
            y = Gemm (r, v)
        }}""",
        w=(5, 2, 1, 1),
        v=(45, 4),
    )


FOLDABLE = {
    "gather and -1": "n = Gather <axis = 0> (s, zero) t = Concat <axis = 0> (n, minus)",
    "scalar": "m = Gather <axis = 0> (s, z) n = Unsqueeze (m, zero) t = Concat <axis = 0> (n, minus)",
    "slice": "n = Slice (s, zero, one) t = Concat <axis = 0> (n, minus)",
    "product": "n = Slice (s, zero, one) a = Slice (s, one, two) g = Mul (a, nine) t = Concat <axis = 0> (n, g)",
    "division": "n = Slice (s, zero, one) a = Div (ninety, two) g = Add (a, zero) t = Concat <axis = 0> (n, g)",
    "shape from an axis on": "n = Shape <start = 0, end = 1> (c) t = Concat <axis = 0> (n, minus)",
    "cast": "n = Slice (s, zero, one) k = Cast <to = 6> (n) l = Cast <to = 7> (k) t = Concat <axis = 0> (l, minus)",
}


@pytest.mark.parametrize("arithmetic", FOLDABLE)
def test_shape_arithmetic_becomes_a_constant(arithmetic):
    proto = reshape_by(FOLDABLE[arithmetic])
    model = from_proto(proto)
    assert not reshapes_with_computed_shape(model)
    assert [n.op_type for n in model.nodes] == ["Conv", "Reshape", "Gemm"]
    assert Structure(model).width("w" if "w" in {x.name for x in Structure(model).layers} else "c").resizable
    feeds = random_feeds(model, batch=3)
    assert output_error(run_file(proto, feeds), Session(model).run(feeds)) == 0.0


@pytest.mark.parametrize(
    "arithmetic",
    [
        # 2.5 * 18 = 45: what passes through floating point is not rounded on the way
        (
            "n = Slice (s, zero, one) k = Cast <to = 1> (eighteen) l = Add (half, two5) m = Mul (k, l) "
            "j = Cast <to = 7> (m) t = Concat <axis = 0> (n, j)"
        ),
        # 45 = 135 / 3 in floating point
        "n = Slice (s, zero, one) k = Cast <to = 1> (big) l = Div (k, three) j = Cast <to = 7> (l) t = Concat <axis = 0> (n, j)",
    ],
)
def test_floating_point_is_followed_as_it_is_computed(arithmetic):
    proto = reshape_by(arithmetic)
    proto.graph.initializer.append(numpy_helper.from_array(np.array([2.0], np.float32), "two5"))
    proto.graph.initializer.append(numpy_helper.from_array(np.array([135], np.int64), "big"))
    model = from_proto(proto)
    feeds = random_feeds(model, batch=3)
    assert output_error(run_file(proto, feeds), Session(model).run(feeds)) == 0.0
    assert not reshapes_with_computed_shape(model)


def test_slice_with_attributes_is_not_followed():
    model = models.parsed(
        """<ir_version: 5, opset_import: ["" : 9]> g (float[N, 2, 3] x) => (float[N, 6] y)
            <int64[1] minus = {-1}> {
            s = Shape (x)
            n = Slice <starts = [0], ends = [1]> (s)
            t = Concat <axis = 0> (n, minus)
            y = Reshape (x, t)
        }"""
    )
    assert Session(from_proto(model)).run(np.zeros((2, 2, 3), np.float32))["y"].shape == (2, 6)


def test_dynamic_sizes_that_stay_where_they_are_are_copied():
    proto = models.parsed(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[N, T, 6] x) => (float[N, T, 2, 3] y)
            <int64[2] rest = {2, 3}, int64[1] zero = {0}, int64[1] two = {2}> {
            s = Shape (x)
            n = Slice (s, zero, two)
            t = Concat <axis = 0> (n, rest)
            y = Reshape (x, t)
        }"""
    )
    model = from_proto(proto)
    reshape = next(n for n in model.nodes if n.op_type == "Reshape")
    np.testing.assert_array_equal(constant(reshape.inputs[1]), [0, 0, 2, 3])
    x = np.arange(5 * 4 * 6, dtype=np.float32).reshape(5, 4, 6)
    np.testing.assert_array_equal(Session(model).run(x)["y"], x.reshape(5, 4, 2, 3))


def test_what_nobody_uses_is_dropped():
    proto = models.build("cnn.legacy")
    proto.graph.node.append(helper.make_node("Relu", [proto.graph.node[0].output[0]], ["dead"]))
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.float32), "unused"))
    assert from_proto(proto).to_bytes() == loaded("cnn.legacy").to_bytes()


def test_what_is_computed_from_constants_becomes_one():
    """A bias of zeros that the graph makes itself. Nodes keep their names, or their having none, and weights stay."""
    proto = models.parsed(
        """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 3] x) => (float[N, 2] y) <int64[1] six = {6}, float[1] none = {0.0}> {
            b = Expand (none, six)
            v = Transpose (w1)
            h = Gemm (x, v, b)
            r = Relu (h)
            y = MatMul (r, w2)
        }""",
        w1=(6, 3),
        w2=(6, 2),
    )
    proto.graph.node[3].name = "activation"
    before = proto.SerializeToString(deterministic=True)
    model = from_proto(proto)
    assert proto.SerializeToString(deterministic=True) == before
    assert [(n.op_type, n.name or "") for n in model.nodes] == [
        ("Transpose", ""),
        ("Gemm", ""),
        ("Relu", "activation"),
        ("MatMul", ""),
    ]
    np.testing.assert_array_equal(model.tensor("b"), np.zeros(6))
    assert {"w1", "w2"} <= set(model.trainable())
    assert [w.resizable for w in Structure(model).widths] == [True, False]
    feeds = random_feeds(model)
    assert output_error(run_file(proto, feeds), Session(model).run(feeds)) <= 1e-6


@pytest.mark.parametrize("width", [1, 10])
def test_a_scaler_becomes_the_arithmetic_that_it_stands_for(width):
    rng = np.random.default_rng(0)
    offset, scale = rng.normal(size=width).astype(np.float32), rng.uniform(0.5, 2.0, width).astype(np.float32)
    nodes = [
        helper.make_node("Scaler", ["x"], ["scaled"], domain="ai.onnx.ml", offset=offset, scale=scale),
        helper.make_node("MatMul", ["scaled", "w1"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("MatMul", ["active", "w2"], ["y"]),
    ]
    weights = {"w1": (width, 6), "w2": (6, 3)}
    graph = helper.make_graph(
        nodes,
        "scaled",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(rng.normal(size=s).astype(np.float32), n) for n, s in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    model = from_proto(proto)
    feeds = random_feeds(model, batch=5, seed=7)
    assert output_error(run_file(proto, feeds), Session(model).run(feeds)) <= 1e-6
    assert [node.op_type for node in model.nodes][:2] == ["Sub", "Mul"]
    assert [w.size for w in Structure(model).widths if w.resizable] == [6]
    assert model.notes == ("written in standard operators: 1 Scaler",)


def test_sequences_of_which_nobody_knows_what_is_taken_stay():
    """Shape inference gives them no type of a tensor, and what is behind them keeps its sizes."""
    model = from_proto(
        models.parsed(
            '<ir_version: 8, opset_import: ["" : 17]> g (float[N, 4] x) => (float[N, 3] y) <float zero = {0}> {'
            " h = MatMul (x, w1) r = Relu (h) s = SequenceEmpty () t = SequenceInsert (s, r)"
            " a = ReduceMax <keepdims = 0> (r) b = Mul (a, zero) first = Cast <to = 7> (b) u = SequenceAt (t, first)"
            " y = MatMul (u, w2) }",
            w1=(4, 5),
            w2=(5, 3),
        )
    )
    feeds = random_feeds(model)
    weights = {name: model.tensor(name) for name in ("w1", "w2")}
    expected = np.maximum(feeds["x"] @ weights["w1"], 0) @ weights["w2"]
    assert output_error({"y": expected}, Session(model).run(feeds)) <= 1e-6
    assert not any(w.resizable for w in Structure(model).widths)


def test_weights_that_are_left_alone_are_named():
    """Without the notes, a model without widths would look like one without weights."""
    text = """<ir_version: 8, opset_import: ["" : 17, "some.domain" : 1]> g (float[N, 4] x{0}) => (float[N, 3] y) {{
        u = some.domain.Mystery (x, w1)
        y = MatMul (u, w2)
    }}"""
    for inputs, fed in (("", False), (", float[5, 3] w2", True)):
        (*notes, unknown) = from_proto(models.parsed(text.format(inputs), w1=(4, 5), w2=(5, 3))).notes
        assert "operators that are not known are left alone: 1 Mystery of 'some.domain'" in unknown
        assert any("1 initializers were listed as inputs, too" in n for n in notes) is fed


@pytest.mark.parametrize("attributes", ["count_include_pad = 0, ", ""], ids=["counting no pads", "of the default"])
@pytest.mark.parametrize("pool", ["MaxPool", "AveragePool"])
def test_onnxruntime_computes_what_a_pool_behind_a_pad_whose_sizes_were_computed_says(pool, attributes):
    # As exporters write "same" padding of images of any size. Below zero, a maximum over zeros is another one than over nothing.
    counted = attributes if pool == "AveragePool" else ""
    model = from_proto(
        models.parsed(
            f"""<ir_version: 8, opset_import: ["" : 17]> g (float[N, 2, 6, 6] x) => (float[N, 2, 4, 4] y)
            <int64[4] before = {{0, 0, 1, 1}}, int64[4] after = {{0, 0, 1, 1}}, float zero = {{0.0}}> {{
                sizes = Concat <axis = 0> (before, after)
                p = Pad (x, sizes, zero)
                y = {pool} <{counted}kernel_shape = [2, 2], pads = [0, 0, 0, 0], strides = [2, 2]> (p)
            }}"""
        )
    )
    (node,) = [n for n in model.nodes if n.op_type == pool]  # what keeps later versions from it, too
    assert node.attributes.get_string("auto_pad") == "VALID"
    assert "pads" not in node.attributes
    x = -1 - np.random.default_rng(0).random((3, 2, 6, 6), dtype=np.float32)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))).reshape(3, 2, 4, 2, 4, 2)
    expected = padded.max((3, 5)) if pool == "MaxPool" else padded.mean((3, 5))
    np.testing.assert_allclose(Session(model).run(x)["y"], expected, atol=1e-6)
    np.testing.assert_allclose(run_file(model.to_proto(), {"x": x})["y"], expected, atol=1e-6)
