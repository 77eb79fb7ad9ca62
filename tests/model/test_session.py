"""Running models and comparing outputs."""

from __future__ import annotations

import gc
import tempfile
from typing import Any

import models
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from checks import loaded

from pysurgeon.errors import ModelError
from pysurgeon.graph import external_data
from pysurgeon.model import Model, from_proto, session
from pysurgeon.model.feeds import random_feeds
from pysurgeon.model.session import Session, output_error
from pysurgeon.runtime import can_differentiate


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


def same_bits(a: Model, b: Model) -> bool:
    feeds = random_feeds(a, batch=5)
    expected, got = Session(a).run(feeds), Session(b).run(feeds)
    return expected.keys() == got.keys() and all(expected[k].tobytes() == got[k].tobytes() for k in expected)


@pytest.mark.parametrize("name", models.RUNNABLE)
def test_lent_tensors_give_the_same_bits(name, monkeypatch, takes_addresses):
    """With nearly all tensors lent to the engine, and with none."""
    model, feeds = loaded(name), random_feeds(loaded(name), batch=5)
    monkeypatch.setattr(external_data, "SMALLEST", 1 << 40)
    expected = Session(model).run(feeds)
    monkeypatch.setattr(external_data, "SMALLEST", 48)
    monkeypatch.setattr(session, "_open", opened := Opened(session._open))
    got = Session(model).run(feeds)
    lent = any(t.nbytes >= 48 for t in model.tensors().values())
    assert opened.lent == ([lent] if takes_addresses or not lent else [True, False])
    assert expected.keys() == got.keys()
    for key, array in expected.items():
        assert array.tobytes() == got[key].tobytes()


@pytest.fixture(scope="module")
def takes_addresses() -> bool:
    """Whether the onnxruntime that is installed reads tensors where they lie. The training build does; versions much later do not."""
    found = bool(Session(wide())._lent)
    assert found or not can_differentiate()
    return found


class Opened:
    """Stands in for what opens sessions and counts: how many were opened, and with lent tensors or not."""

    def __init__(self, real: Any) -> None:
        self.real, self.lent = real, []

    def __call__(self, model: ir.Model, size: int, threads: int, lent: Any, **how: Any) -> Any:
        self.lent.append(bool(lent))
        return self.real(model, size, threads, lent, **how)


def wide(transposed: bool = False) -> Model:
    """A weight of 4 MB; where asked for, behind a Transpose that the engine's optimizers fold into it."""
    weight = "t = Transpose <perm = [1, 0]> (w) m = MatMul (x, t)" if transposed else "m = MatMul (x, w)"
    return from_proto(
        models.parsed(
            f'<ir_version: 8, opset_import: ["" : 17]> s (float[N, 1000] x) => (float[N, 1000] y) {{ {weight} y = Relu (m) }}',
            w=(1000, 1000),
        )
    )


def test_a_session_makes_no_file_that_a_kill_would_leave_behind(monkeypatch, takes_addresses):
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    opened = Session(wide())
    assert bool(opened._lent) == takes_addresses
    assert opened.run(random_feeds(wide()))


def test_lent_tensors_survive_the_optimizers():
    """Elementwise operators between two Transposes are where the engine rewrites a constant under its own name."""
    text = """<ir_version: 8, opset_import: ["" : 17]> s (float[N, 2, 2, 600] x) => (float[N, 2, 2, 600] y) {
        a = Transpose <perm = [0, 3, 1, 2]> (x)
        b = Add (a, w)
        c = Mul (b, v)
        y = Transpose <perm = [0, 2, 3, 1]> (c)
    }"""
    model = from_proto(models.parsed(text, w=(600, 1, 1), v=(1, 600, 2, 2)))
    feeds = random_feeds(model)
    w, v = (model.tensor(name) for name in "wv")
    expected = (feeds["x"] + w.reshape(600)) * v[0].transpose(1, 2, 0)
    np.testing.assert_array_equal(Session(model).run(feeds)["y"], expected)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_session_keeps_what_was_lent(transposed):
    """The arrays belong to the session as long as it lives, whatever becomes of the model."""
    model = wide(transposed)
    feeds = random_feeds(model)
    weight = model.tensor("w")
    expected = np.maximum(feeds["x"] @ (weight.T if transposed else weight), 0)
    running = Session(model)
    del model, weight
    gc.collect()
    noise = [np.full((1000, 1000), k, np.float32) for k in range(8)]  # takes the memory if it was given back
    assert output_error({"y": expected}, running.run(feeds)) < 1e-5
    assert len(noise) == 8


def test_large_sessions_do_not_copy_weights(monkeypatch, takes_addresses):
    """Weights from `LARGE` on are neither packed nor folded: the engine works with the very arrays of the model."""
    if not takes_addresses:
        pytest.skip("this onnxruntime copies what it is given")
    model = wide(transposed=True)
    feeds = random_feeds(model)
    expected = Session(model).run(feeds)
    monkeypatch.setattr(session, "LARGE", 0)
    model = from_proto(model.to_proto())
    weight = np.array(model.tensor("w"))
    model = model.with_tensors({"w": weight})
    assert model.tensor("w") is weight
    running = Session(model)
    assert output_error(expected, running.run(feeds)) < 1e-5
    weight[:] = 0  # nobody may do this; here it shows whose memory is read
    assert not running.run(feeds)["y"].any()


def test_an_engine_that_does_not_take_lent_tensors(monkeypatch):
    monkeypatch.setattr(session, "_ADDRESS", "nowhere")
    monkeypatch.setattr(session, "_open", opened := Opened(session._open))
    model = wide()
    feeds = random_feeds(model)
    expected = np.maximum(feeds["x"] @ model.tensor("w"), 0)
    assert output_error({"y": expected}, Session(model).run(feeds)) < 1e-5
    assert opened.lent == [True, False]


def test_an_engine_that_does_not_take_lent_tensors_takes_those_of_a_large_model_by_name(monkeypatch):
    monkeypatch.setattr(session, "_ADDRESS", "nowhere")
    monkeypatch.setattr(external_data, "LARGEST_MESSAGE", 0)
    monkeypatch.setattr(session, "_open", opened := Opened(session._open))
    for transposed in (False, True):
        model = wide(transposed)
        feeds = random_feeds(model)
        weight = model.tensor("w").T if transposed else model.tensor("w")
        assert output_error({"y": np.maximum(feeds["x"] @ weight, 0)}, Session(model).run(feeds)) < 1e-5
    assert opened.lent == [True, True, True, True]


def test_arrays_that_the_engine_cannot_read_in_place_are_copied():
    model = wide()
    turned = model.tensor("w").T
    clone = model.ir.clone()
    clone.graph.initializers["w"].const_value = ir.Tensor(turned, name="w")
    assert same_bits(Model(clone), model.with_tensors({"w": np.ascontiguousarray(turned)}))


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
    assert random_feeds(loaded("float64.legacy"))["input"].dtype == np.float32  # as it is read


def test_random_feeds_of_dynamic_dimensions():
    text = """<ir_version: 8, opset_import: ["" : 17]>
    m (int64[N, S] ids, float[N, S, 3] x, float[S, M] p, bool[N] flag, int32[M, 2] k, float[1, M] q) => (float[N, S, 3] y) {
        y = Relu (x)
    }"""
    proto = onnx.parser.parse_model(text)
    for value in (proto.graph.input[4], proto.graph.input[5]):  # dimensions of unknown size without a name
        value.type.tensor_type.shape.dim[0 if value.name == "k" else 1].ClearField("dim_param")
    feeds = random_feeds(from_proto(proto), batch=5)
    assert {name: array.shape for name, array in feeds.items()} == {
        "ids": (5, 16),
        "x": (5, 16, 3),
        "p": (16, 16),  # S stands first here, but has its size already
        "flag": (5,),
        "k": (5, 2),
        "q": (1, 16),
    }
    assert {name: array.dtype.name for name, array in feeds.items() if array.dtype.kind in "ib"} == {
        "ids": "int64",
        "flag": "bool",
        "k": "int32",
    }
    assert set(np.unique(feeds["ids"])) == {0, 1}


def test_random_feeds_of_one_name_fit_together():
    text = """<ir_version: 8, opset_import: ["" : 17]> m (float[T] p, float[N, T] x) => (float[N, T] y) { y = Add (x, p) }"""
    model = from_proto(onnx.parser.parse_model(text))
    feeds = random_feeds(model, batch=5)
    assert {name: array.shape for name, array in feeds.items()} == {"p": (5,), "x": (5, 5)}
    assert Session(model).run(feeds)["y"].shape == (5, 5)
