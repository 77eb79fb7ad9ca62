"""The base of every check is the file: what loading or an operation got wrong at some size is an error, and nothing is written."""

from __future__ import annotations

import pickle

import models
import numpy as np
import onnx
import open_sizes
import pytest
from checks import loaded
from onnx import TensorProto, helper
from open_sizes import KINDS, assert_same, integers

import pysurgeon as ps
from pysurgeon.errors import ModelError, VerificationError
from pysurgeon.graph import initializer
from pysurgeon.model import Model, from_proto
from pysurgeon.model.fidelity import LARGEST_VALUE, reference, verify_loaded, verify_result
from pysurgeon.report import compare
from pysurgeon.surgery import Narrow, operate


def proto_of(kind: str, levels: int = 4) -> onnx.ModelProto:
    return KINDS[kind](np.random.default_rng(levels), levels)


def baked(model: Model) -> Model:
    """The model with the size of its last map written down for 64 x 96: right there, and wrong anywhere else."""
    clone = model.ir.clone()
    reshape = next(n for n in clone.graph if n.op_type == "Reshape")
    target = initializer("baked", np.array([-1, 2, 24], np.int64))
    clone.graph.register_initializer(target)
    reshape.replace_input_with(1, target)
    return Model(clone, model.notes, model.source)


def test_what_loading_got_wrong_is_an_error_that_says_where(tmp_path):
    wrong = baked(from_proto(proto_of("flat"), origin="detector.onnx"))
    with pytest.raises(
        VerificationError, match=r"loading detector\.onnx changed .* at N=\d+, H=\d+, W=\d+ .*fixed sizes"
    ):
        ps.save(wrong, tmp_path / "saved.onnx")
    assert not list(tmp_path.iterdir())
    with pytest.raises(VerificationError, match=r"loading detector\.onnx"):
        ps.apply(wrong, "widen:conv0=9")
    with pytest.raises(VerificationError, match=r"loading detector\.onnx"):
        ps.train(wrong, data={"x": np.zeros((8, 3, 64, 96), np.float32), "y": np.zeros(8, np.int64)}, steps=1)


@pytest.mark.parametrize("exact", [True, False])
def test_what_an_operation_got_wrong_at_another_size_is_an_error(exact):
    model = from_proto(proto_of("flat"))
    with pytest.raises(VerificationError, match="H="):
        verify_result(baked(model), model, exact=exact)


def test_what_an_operation_changed_is_no_error_where_it_may():
    model = from_proto(proto_of("flat"))
    narrowed = operate(model, Narrow("conv0", 4)).model
    assert 1e-3 < verify_result(narrowed, model, exact=False).error < 10
    with pytest.raises(VerificationError, match="differ by"):
        verify_result(narrowed, model, exact=True)


def test_several_sizes_are_tried_for_one_sample_and_for_more():
    found = verify_loaded(from_proto(proto_of("grid")))
    sizes = [t.sizes for t in found.trials]
    assert len(sizes) == 3
    assert not found.why
    for name in ("H", "W"):
        assert len({s[name] for s in sizes}) == 3
    assert {s["N"] for s in sizes} == {1, 2, 3}
    assert all(s["H"] != s["W"] for s in sizes)
    fixed = reference(loaded("cnn.legacy"))
    assert [t.sizes for t in fixed.trials] == [{"N": 1}, {"N": 3}]


def joined(name: str) -> onnx.ModelProto:
    """A map that is halved five times and resized back by scales, beside itself: only multiples of 32 fit."""
    (nodes, tensors), last = open_sizes.trunk(np.random.default_rng(0), 5)
    nodes += [
        helper.make_node("Resize", [last, "", "scales"], ["u"], mode="nearest"),
        helper.make_node("Concat", ["x", "u"], ["y"], axis=1),
    ]
    tensors.append(onnx.numpy_helper.from_array(np.array([1, 1, 32, 32], np.float32), "scales"))
    return open_sizes.model(nodes, {"x": ["N", 3, name, "W"]}, {"y": ["N", 9, "h", "w"]}, tensors)


def test_sizes_that_the_file_does_not_take_are_left_out():
    found = verify_loaded(from_proto(joined("H")))
    assert len(found.trials) == 3
    assert all(t.sizes["H"] % 32 == 0 == t.sizes["W"] % 32 for t in found.trials)
    assert found.why
    result = ps.apply(from_proto(joined("H")), "widen:conv0=9")
    assert len(result.beside_file.sizes) == 3
    assert result.beside_file.error <= 1e-6


def test_that_no_size_could_be_tried_is_said():
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["r"]), helper.make_node("MatMul", ["r", "w"], ["y"])]
    tensors = [integers("shape", [-1, 1234]), open_sizes.weight(np.random.default_rng(0), "w", 1234, 2)]
    proto = open_sizes.model(nodes, {"x": ["N", "L"]}, {"y": ["N", 2]}, tensors)
    found = verify_loaded(from_proto(proto))
    assert not found.trials
    assert "takes no input that was tried" in found.why


@pytest.mark.parametrize("name", ["cnn_bn.training", "dropout.training"])
def test_what_is_changed_on_purpose_is_no_difference(name):
    assert len(verify_loaded(from_proto(models.build(name))).trials) == 2


def test_only_an_untouched_model_has_its_file_beside_it():
    model = from_proto(proto_of("flat"))
    assert model.source is not None
    first, second = (m.ir.graph.initializers["w0"].const_value for m in (model, model.source))
    assert first is second  # no weight is held twice
    assert pickle.loads(pickle.dumps(model)).source is None  # noqa: S301
    assert operate(model, Narrow("conv0", 4)).model.source is None
    assert model.with_metadata({"a": "b"}).source is None


def test_models_are_compared_as_their_files_are():
    model = from_proto(proto_of("flat"))
    wrong = baked(model)
    assert compare(model, wrong).max_error == 0.0
    with pytest.raises(ModelError, match="cannot be reshaped"):
        compare(model, Model(wrong.ir))


def test_dimensions_without_a_name_are_not_the_same():
    """Some exporters call every open dimension `?`."""
    proto = proto_of("pyramid")
    for d in proto.graph.input[0].type.tensor_type.shape.dim:
        if d.dim_param:
            d.dim_param = "?"
    model = from_proto(proto)
    assert_same(proto, model, tolerance=1e-5)
    assert all(len(set(t.sizes.values())) == 3 for t in verify_loaded(model).trials)


def test_sizes_that_a_file_declares_inside_are_not_believed():
    """Somebody opened the input of a file that was exported at 64 x 96, and left what stands inside."""
    proto = proto_of("flat")
    declared = {"r3": [1, 6, 4, 6], "o": [1, 2, 4, 6], "sh": [4], "both": [2]}
    for name, shape in declared.items():
        kind = TensorProto.INT64 if name in ("sh", "both") else TensorProto.FLOAT
        proto.graph.value_info.append(helper.make_tensor_value_info(name, kind, shape))
    model = from_proto(proto)
    assert_same(proto, model, tolerance=1e-5)
    shapes = {str(o.name): o.shape for node in model.nodes for o in node.outputs}
    assert not any(isinstance(shapes["r3"][k], int) for k in (0, 2, 3))


def test_names_that_are_sums_are_the_sums():
    """What was seen before, what is new, and a mask for both."""
    nodes = [
        helper.make_node("Concat", ["past", "x"], ["all"], axis=1),
        helper.make_node("Mul", ["all", "mask"], ["masked"]),
        helper.make_node("MatMul", ["masked", "w"], ["y"]),
    ]
    shapes = {"past": ["N", "P", 4], "x": ["N", "T", 4], "mask": ["N", "P + T", 1]}
    tensors = [open_sizes.weight(np.random.default_rng(0), "w", 4, 2)]
    found = verify_loaded(from_proto(open_sizes.model(nodes, shapes, {"y": ["N", "S", 2]}, tensors)))
    assert len(found.trials) == 3
    assert all(t.sizes["P + T"] == t.sizes["P"] + t.sizes["T"] for t in found.trials)


def test_costs_are_for_a_size_that_is_said():
    found = ps.inspect(from_proto(proto_of("flat", 2)))
    assert found.model.macs_at == {"H": 224, "W": 224}
    assert found.model.macs == 112 * 112 * 6 * 27 + 56 * 56 * (6 * 54 + 2 * 6)
    assert ps.inspect(loaded("cnn.legacy")).model.macs_at == {}


@pytest.mark.parametrize("size", ["H, W", "80, 80"])
def test_sizes_that_would_fill_the_memory_are_not_tried(size):
    """Attention over all places of an image grows with the square of their number: 13 GB a value at 224 x 256. Where a size is fixed, it is that one."""
    m = from_proto(
        models.parsed(
            f"""<ir_version: 8, opset_import: ["" : 17]> g (float[N, 4, {size}] x) => (float[N, P, 4] y) <int64[3] line = {{0, 4, -1}}> {{
                c = Conv (x, k) f = Reshape (c, line) t = Transpose <perm = [0, 2, 1]> (f) s = MatMul (t, f) a = Softmax (s) y = MatMul (a, t) }}""",
            k=(4, 4, 1, 1),
        )
    )
    found = reference(m)
    if size == "80, 80":
        assert [t.sizes for t in found.trials] == [{"N": 1}]
    else:
        assert len(found.trials) == 3
        assert max(t.sizes["N"] * (t.sizes["H"] * t.sizes["W"]) ** 2 for t in found.trials) <= LARGEST_VALUE
    assert not found.why
