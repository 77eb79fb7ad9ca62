"""What a model expects of its input, from its file or from how well it does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from pysurgeon import api
from pysurgeon.data import Dataset, Split, load
from pysurgeon.errors import DataError
from pysurgeon.evolution import EvolveSettings
from pysurgeon.model import Model, from_proto
from pysurgeon.report import compare
from pysurgeon.training import as_expected, evaluate, with_input_metadata
from tests.starts import cnn, mlp


def softmax_regression(data: Dataset, x: np.ndarray[Any, Any], *, shape: tuple[int, ...] | None = None) -> Model:
    """A linear model fitted by least squares to what it is fed, with logits that are sure of themselves."""
    flat = np.hstack([x.reshape(len(x), -1).astype(np.float64), np.ones((len(x), 1))])
    wanted = np.eye(len(data.classes))[data.train.y] * 8 - 4
    found = np.linalg.lstsq(flat.T @ flat + 1e-3 * np.eye(flat.shape[1]), flat.T @ wanted, rcond=None)[0]
    weights = {"w": found[:-1].astype(np.float32), "b": found[-1].astype(np.float32)}
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"], axis=1),
        helper.make_node("Gemm", ["f", "w", "b"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", *(shape or data.sample_shape)])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", len(data.classes)])],
        [numpy_helper.from_array(a, n) for n, a in weights.items()],
    )
    return from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def pixels() -> Dataset:
    """The digits in bytes, as most images come."""
    digits = load("digits", limit=600)

    def part(split: Split) -> Split:
        return Split(np.round(split.x / max(1.0, float(digits.train.x.max())) * 255).astype(np.uint8), split.y)

    return Dataset.build(
        "pixels",
        train=part(digits.train),
        validation=part(digits.validation),
        test=part(digits.test),
        classes=digits.classes,
    )


def floats(data: Dataset) -> Dataset:
    """The same values, which are no bytes."""
    parts = {
        name: Split(split.x.astype(np.float32), split.y)
        for name, split in (("train", data.train), ("validation", data.validation), ("test", data.test))
    }
    return Dataset.build("floats", **parts, classes=data.classes)  # type: ignore[arg-type]


@pytest.mark.parametrize("fed", ["standard", "unit", "none"])
def test_a_trained_model_gets_what_it_was_trained_on(fed: Any) -> None:
    data = pixels()
    chosen = Dataset.build(
        "pixels", train=data.train, validation=data.validation, test=data.test, classes=data.classes, normalize=fed
    )
    model = softmax_regression(chosen, chosen.normalized(chosen.train.x))
    expected = evaluate(model, chosen, "test").accuracy
    assert expected > 0.85
    found = as_expected(model, data)
    assert "with which the model as given does best (" in found.notes[-1]
    assert f"{fed} " in found.notes[-1]
    assert not found.cautions
    assert evaluate(model, found, "test").accuracy == expected
    # What somebody has chosen stays, if the model did better with another one, too.
    for other in ("standard", "unit", "none"):
        decided = Dataset.build(
            "pixels",
            train=data.train,
            validation=data.validation,
            test=data.test,
            classes=data.classes,
            normalize=other,
        )
        kept = as_expected(model, decided)
        assert (kept.scale, kept.mean.tolist(), kept.std.tolist(), kept.notes) == (
            decided.scale,
            decided.mean.tolist(),
            decided.std.tolist(),
            decided.notes,
        )
        assert as_expected(model, kept) is kept


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("make", [mlp, cnn])
def test_an_untrained_model_gets_the_usual(make: Any, seed: int) -> None:
    for data in (pixels(), floats(pixels())):
        found = as_expected(from_proto(make(seed=seed)), data)
        np.testing.assert_array_equal(found.mean, data.mean)
        np.testing.assert_array_equal(found.std, data.std)
        assert found.scale == data.scale
        assert not found.undecided
        assert found.notes[-1] == "fed with zero mean and unit deviation"
        assert not found.cautions


def test_each_of_two_models_is_compared_as_its_file_says() -> None:
    data = pixels()
    models = []
    for mean, std in ((0.0, 1.0), (0.3, 0.05)):
        said = replace(data, mean=np.full(1, mean, np.float32), std=np.full(1, std, np.float32), undecided=False)
        models.append(with_input_metadata(softmax_regression(said, said.normalized(said.train.x)), said))
        assert evaluate(models[-1], said, "test").accuracy > 0.85
    for a, b in (models, models[::-1]):
        found = compare(a, b, data)
        assert found.a.accuracy is not None
        assert found.b.accuracy is not None
        assert min(found.a.accuracy, found.b.accuracy) > 0.85
    # The same normalization for both is what it was about.
    one = as_expected(models[0], data)
    right, wrong = compare(models[0], models[1], data).b.accuracy, compare(models[0], models[1], one).b.accuracy
    assert right is not None
    assert wrong is not None
    assert wrong < right - 0.03


def test_a_trained_file_is_trained_on_as_it_was(tmp_path: Path) -> None:
    settings = EvolveSettings("digits", limit=400, steps=30, epochs=None, batch_size=32, normalize="none")
    first = api.train(from_proto(mlp()), settings=settings)
    again = api.train(first.model, settings=replace(settings, normalize="auto", steps=5))
    properties = {p.key: p.value for p in again.model.to_proto().metadata_props}
    assert json.loads(properties["pysurgeon.input"])["mean"] == [0.0]
    assert again.model.ir.metadata_props["pysurgeon.input"] == first.model.ir.metadata_props["pysurgeon.input"]


def sequences(scales: np.ndarray[Any, Any]) -> Dataset:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    x = rng.standard_normal((300, 1, 5, len(scales))) + np.where(y[:, None, None, None] == 1, 0.7, -0.7)
    x = (x * scales + 3 * scales).astype(np.float32)
    parts = [Split(x[a:b], y[a:b]) for a, b in ((0, 200), (200, 250), (250, 300))]
    return Dataset.build("sequences", train=parts[0], validation=parts[1], test=parts[2], classes=("a", "b"))


def test_every_feature_of_a_sequence_has_its_scale() -> None:
    data = sequences(np.array([1.0, 1e3, 1e-3]))
    untrained = softmax_regression(data, np.zeros_like(data.train.x), shape=(5, 3))
    found = as_expected(untrained, data)
    fed = found.normalized(data.train.x)
    np.testing.assert_allclose(fed.mean(axis=(0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(fed.std(axis=(0, 1, 2)), 1, atol=1e-3)
    # Its file says so, for whoever feeds it by other means, and for us.
    noted = with_input_metadata(softmax_regression(data, fed, shape=(5, 3)), found)
    rule = json.loads(noted.ir.metadata_props["pysurgeon.input"])
    assert rule["axis"] == -1
    raw = data.test.x.reshape(-1, 5, 3) * rule["scale"]
    z = onnxruntime.InferenceSession(noted.to_bytes(), providers=["CPUExecutionProvider"]).run(
        None, {"x": ((raw - np.array(rule["mean"])) / np.array(rule["std"])).astype(np.float32)}
    )[0]
    again = as_expected(noted, data)
    assert float((z.argmax(1) == data.test.y).mean()) == evaluate(noted, again, "test").accuracy
    np.testing.assert_allclose(again.normalized(data.train.x), fed, rtol=1e-5, atol=1e-5)
    # An image has one number for its channel, whatever it is fed as.
    image = as_expected(softmax_regression(data, np.zeros_like(data.train.x)), data)
    assert image.mean.shape == (1,)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("{", "is damaged"),
        ('{"mean": [0], "std": [1]}', "is damaged"),
        ('{"scale": 1, "mean": [0, 0, 0], "std": [1, 1, 1]}', "3 channels"),
        ('{"scale": 1, "mean": [0], "std": [1, 1]}', "1 channels"),
        ('{"scale": 0.00392156862745098, "mean": [0], "std": [1]}', "they were bytes"),
    ],
)
def test_a_file_that_says_nonsense_is_refused(entry: str, words: str) -> None:
    model = from_proto(mlp()).with_metadata({"pysurgeon.input": entry})
    with pytest.raises(DataError, match=words) as caught:
        as_expected(model, floats(load("digits", limit=100)))
    assert "--normalize" in str(caught.value)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_token_that_a_table_lacks_is_named(part: str) -> None:
    rng = np.random.default_rng(0)
    tables = {"table": rng.standard_normal((50, 4)), "w": rng.standard_normal((4, 2))}
    nodes = [
        helper.make_node("Gather", ["table", "x"], ["e"]),
        helper.make_node("ReduceMean", ["e"], ["m"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["m", "w"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "text",
        [helper.make_tensor_value_info("x", onnx.TensorProto.INT64, ["N", 6])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(a.astype(np.float32), n) for n, a in tables.items()],
    )
    model = from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))
    splits = {}
    for name in ("train", "validation", "test"):
        x = rng.integers(0, 50, (40, 6))
        if name == part:
            x[7, 3] = 57
        splits[name] = Split(x, np.arange(40) % 2)
    data = Dataset.build("text", **splits, classes=("a", "b"))  # type: ignore[arg-type]
    with pytest.raises(
        DataError, match=f"sample 7 of the {'training' if part == 'train' else part} part .* number 57.*'table'.* 50"
    ):
        as_expected(model, data)
