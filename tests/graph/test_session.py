"""Running models and comparing outputs."""

from __future__ import annotations

import models
import numpy as np
import pytest
from checks import loaded

from pysurgeon.errors import ModelError
from pysurgeon.graph.session import Session, latency, output_error, random_feeds


def test_outputs_and_extra_values():
    model = loaded("cnn.legacy")
    hidden = next(model.nodes).outputs[0].name
    values = Session(model, [hidden]).run(random_feeds(model, batch=3))
    assert list(values) == ["logits", hidden]
    assert values["logits"].shape == (3, 4)
    assert values[hidden].shape == (3, 6, 6, 6)
    assert list(Session(model, ["logits"]).run(random_feeds(model, batch=3))) == ["logits"]


def test_a_single_array_is_the_single_input():
    model = loaded("mlp_relu.legacy")
    feeds = random_feeds(model, batch=3)
    np.testing.assert_array_equal(Session(model).run(feeds["input"])["logits"], Session(model).run(feeds)["logits"])


@pytest.mark.parametrize(
    "feeds",
    [
        {"input": np.zeros((2, 3, 5), np.float32)},
        {"input": np.zeros((2, 3, 4), np.float64)},
        {"input": np.zeros((2, 12), np.float32)},
        {"other": np.zeros((2, 3, 4), np.float32)},
        {},
    ],
    ids=["shape", "type", "rank", "name", "nothing"],
)
def test_input_that_does_not_fit(feeds):
    with pytest.raises(ModelError, match="cannot be run on this input"):
        Session(loaded("mlp_relu.legacy")).run(feeds)


@pytest.mark.parametrize("name", models.UNRUNNABLE)
def test_a_model_that_cannot_be_run(name):
    with pytest.raises(ModelError, match="onnxruntime cannot run the model"):
        Session(loaded(name))


def test_output_error():
    a = {"y": np.array([1.0, -4.0], np.float32), "n": np.array([3], np.int64)}
    assert output_error(a, {"y": np.array([1.0, -4.0]), "n": np.array([3])}) == 0.0
    assert output_error(a, {"y": np.array([1.5, -4.0]), "n": np.array([3])}) == pytest.approx(0.5 / 4)
    assert output_error(a, {"y": np.array([1.0, -4.0]), "n": np.array([0])}) == 1.0
    assert output_error(a, {"y": np.array([1.0]), "n": np.array([3])}) == np.inf
    assert output_error(a, {"y": np.array([1.0, np.nan]), "n": np.array([3])}) == np.inf
    assert output_error({"y": np.zeros(2)}, {"y": np.array([0.0, 0.25])}) == 0.25
    assert output_error({"y": np.zeros((0, 3))}, {"y": np.zeros((0, 3))}) == 0.0


def test_random_feeds():
    feeds = random_feeds(loaded("subgraph"), batch=5, seed=1)
    assert feeds["x"].shape == (5, 3)
    assert feeds["x"].dtype == np.float32
    assert feeds["flag"].dtype == np.bool_
    again, other = (random_feeds(loaded("subgraph"), batch=5, seed=s) for s in (1, 2))
    np.testing.assert_array_equal(feeds["x"], again["x"])
    assert not np.array_equal(feeds["x"], other["x"])
    assert random_feeds(loaded("fixed_batch"), batch=5)["input"].shape[0] == 1
    assert random_feeds(loaded("float64.legacy"))["input"].dtype == np.float64


def test_latency_is_a_time():
    assert latency(loaded("mlp_relu.legacy"), repetitions=3) > 0
