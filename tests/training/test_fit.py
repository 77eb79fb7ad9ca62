"""How data is matched with a model, and evaluation."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from pysurgeon.data import Dataset, Split
from pysurgeon.errors import DataError
from pysurgeon.graph import Array
from pysurgeon.model import Model, from_proto
from pysurgeon.model.session import Session
from pysurgeon.training import evaluate, fit_input, with_input_metadata
from pysurgeon.training.losses.making import make_loss

from .zoo import CLASSES, cnn, exported, images, losses_of, mlp, network
from .zoo import cross_entropy as shared_cross_entropy


def taking(*shape: int | str, classes: int = len(CLASSES), dtype: int = TensorProto.FLOAT) -> Model:
    """A model of one dense layer on flattened input; `192` values."""
    nodes = [
        helper.make_node("Cast", ["x"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["c", "s"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    tensors = [
        numpy_helper.from_array(np.random.default_rng(0).standard_normal((192, classes)).astype(np.float32), "w"),
        numpy_helper.from_array(np.array([-1, 192]), "s"),
    ]
    x = helper.make_tensor_value_info("x", dtype, ["batch", *shape])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", classes])
    graph = helper.make_graph(nodes, "g", [x], [y], tensors)
    return from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def cross_entropy(logits: Array, y: Array) -> Array:
    return losses_of(shared_cross_entropy(logits.shape[1]), logits, y)


def test_channels_first_is_taken_as_it_is() -> None:
    data = images()
    (fit,) = fit_input(taking(3, 8, 8), data).inputs
    x = np.ones((4, 3, 8, 8), np.float32)
    assert fit.arrange == "as is"
    assert fit.batch(x) is x


def test_channels_last_is_transposed() -> None:
    x = np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype(np.float32)
    fed = fit_input(taking(8, 8, 3), images()).feeds(x)["x"]
    np.testing.assert_array_equal(fed, x.transpose(0, 2, 3, 1))
    assert fed.flags.c_contiguous


def test_images_are_laid_flat_for_a_table_model() -> None:
    (fit,) = fit_input(taking(192), images()).inputs
    assert fit.arrange == "flat"
    assert fit.batch(np.ones((2, 3, 8, 8), np.float32)).shape == (2, 192)


def test_rows_become_the_images_that_they_were() -> None:
    assert fit_input(taking(3, 8, 8), images((192,))).inputs[0].batch(np.ones((2, 192), np.float32)).shape == (
        2,
        3,
        8,
        8,
    )


def test_symbolic_sizes_match_any() -> None:
    assert fit_input(taking(3, "h", "w"), images()).inputs[0].arrange == "as is"
    assert fit_input(taking("h", "w", 3), images()).inputs[0].arrange == "channels last"


def test_a_shape_that_does_not_fit_is_refused_with_both() -> None:
    with pytest.raises(DataError, match=r"\(3, 8, 8\).*\(any, 3, 4, 16\)"):
        fit_input(taking(3, 4, 16), images())


def test_classes_must_be_those_of_the_output() -> None:
    with pytest.raises(DataError, match=r"5 classes.*\(batch, 5\).*\(any, 7\)"):
        make_loss(taking(3, 8, 8, classes=7), images())


def test_an_integer_input_is_refused() -> None:
    with pytest.raises(DataError, match=r"input 'x' is int64.*float32"):
        fit_input(taking(3, 8, 8, dtype=TensorProto.INT64), images())


@pytest.mark.parametrize("label", [-1, len(CLASSES)])
def test_labels_out_of_range_are_refused(label: int) -> None:
    data = images()
    y = data.train.y.copy()
    y[7] = label
    wrong = Split(data.train.x, y)
    with pytest.raises(DataError, match="label"):
        replace(data, train=wrong)
    smuggled = Dataset(
        **{f: getattr(data, f) for f in ("name", "train", "validation", "test", "classes", "mean", "std", "scale")}
    )
    object.__setattr__(smuggled, "train", wrong)
    with pytest.raises(DataError, match="labels of the training part are int64 from"):
        make_loss(taking(3, 8, 8), smuggled)


@pytest.mark.parametrize("softmax", [False, True])
def test_evaluation_is_cross_entropy_and_accuracy(softmax: bool) -> None:
    data = images()
    model = exported(mlp(softmax=softmax), 3, 8, 8)
    plain = network("mlp")
    x = np.concatenate([x for x, _ in data.evaluation_batches("test", 64)])
    logits = Session(plain).run(x)["y"]
    figures = evaluate(model, data, "test", batch_size=5)
    assert figures.samples == len(data.test)
    assert figures.loss == pytest.approx(cross_entropy(logits, data.test.y).mean(), rel=1e-5)
    np.testing.assert_array_equal(figures.scores, logits.argmax(1) == data.test.y)
    assert figures.accuracy == figures.scores.mean()


def test_evaluation_of_a_model_with_a_fixed_batch_size() -> None:
    data = images()
    fixed = exported(cnn(), 3, 8, 8, dynamic=False, batch=5)
    free = network("cnn")
    a, b = (evaluate(m, data, "validation") for m in (fixed, free))
    assert a.loss == pytest.approx(b.loss, rel=1e-5)
    np.testing.assert_array_equal(a.scores, b.scores)


def test_evaluation_of_a_model_that_cannot_be_freed_from_its_batch_size() -> None:
    # Each sample is shifted by its place in the batch: any other batch size is refused by the Add.
    proto = taking(3, 8, 8).to_proto()
    for port in (*proto.graph.input, *proto.graph.output):
        port.type.tensor_type.shape.dim[0].dim_value = 10
    shift = np.zeros((10, 1), np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(shift, "shift"))
    proto.graph.node[-1].output[0] = "z"
    proto.graph.node.append(helper.make_node("Add", ["z", "shift"], ["y"]))
    del proto.graph.value_info[:]
    data = images()
    a, b = evaluate(from_proto(proto), data, "validation"), evaluate(taking(3, 8, 8), data, "validation")
    assert a.samples == b.samples == 48
    assert a.loss == pytest.approx(b.loss, rel=1e-6)


def test_cross_entropy_neither_overflows_nor_hides_what_is_not_finite() -> None:
    assert cross_entropy(np.array([[1e30, 0.0]], np.float32), np.array([0]))[0] == 0.0
    assert np.isnan(cross_entropy(np.array([[np.inf, 0.0]], np.float32), np.array([0]))[0])
    assert np.isnan(cross_entropy(np.array([[np.nan, 0.0]], np.float32), np.array([1]))[0])


@pytest.mark.parametrize("shape", [(3, 8, 8), (8, 8, 3), (192,)])
def test_a_trained_file_says_what_its_input_must_be(shape: tuple[int, ...]) -> None:
    # Who has only the file feeds it raw pixels by the rule in its metadata, with plain onnxruntime, and gets the same.
    data, model = images(), taking(*shape)
    noted = with_input_metadata(model, data)
    properties = {p.key: p.value for p in noted.to_proto().metadata_props}
    rule = json.loads(properties["pysurgeon.input"])
    assert json.loads(properties["pysurgeon.classes"]) == list(data.classes)
    raw = data.test.x.astype(np.float64)
    fed = (raw * rule["scale"] - np.reshape(rule["mean"], (-1, 1, 1))) / np.reshape(rule["std"], (-1, 1, 1))
    fed = fed.transpose(0, 2, 3, 1) if rule["arrange"] == "channels last" else fed.reshape(-1, *shape)
    session = onnxruntime.InferenceSession(noted.to_bytes(), providers=["CPUExecutionProvider"])
    (z,) = session.run(None, {"x": fed.astype(np.float32)})
    assert float((z.argmax(1) == data.test.y).mean()) == evaluate(model, data, "test").accuracy
    assert noted.to_proto().graph == model.to_proto().graph
