"""Models that were not exported for training: several outputs of which one is meant, classes instead of logits, and float64."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from starts import digits, model, text_model

import pysurgeon as ps
from pysurgeon import data as data_package
from pysurgeon.errors import UsageError
from pysurgeon.graph import Array
from pysurgeon.model import Model
from pysurgeon.model.session import Session
from pysurgeon.training import LocalTrainer, Schedule, State, TrainSettings, as_expected, evaluate, training_report
from pysurgeon.training.task.head import head

# What picks classes from `z`, and the type and the shape of the output `y` behind that.
PICKS = {
    "largest": ("y = ArgMax <axis = 1, keepdims = 0> (z)", "int64[N] y"),
    "kept": ("y = ArgMax <axis = -1> (z)", "int64[N, 1] y"),
    "of probabilities": ("p = Softmax <axis = 1> (z) y = ArgMax <axis = 1, keepdims = 0> (p)", "int64[N] y"),
    "cast": ("c = ArgMax <axis = 1, keepdims = 0> (z) y = Cast <to = 6> (c)", "int32[N] y"),
    "cast to floats": ("c = ArgMax <axis = 1> (z) y = Cast <to = 1> (c)", "float[N, 1] y"),
    "squeezed": ("c = ArgMax <axis = 1> (z) y = Squeeze (c, one)", "int64[N] y"),
    "best two": ("v, y = TopK <axis = 1> (z, two)", "int64[N, 2] y"),
    "best two of probabilities": ("p = Softmax <axis = 1> (z) v, y = TopK (p, two)", "int64[N, 2] y"),
}
TENSORS = {"one": np.array([1]), "two": np.array([2])}
SETTINGS = TrainSettings(Schedule(1e-2, 30), batch_size=32)


def ending(tail: str, outputs: str, *, hidden: int = 12, first: int = 0) -> onnx.ModelProto:
    """An MLP of the digits whose logits are `z`, with something behind it, and `first` features before it."""
    rng = np.random.default_rng(0)
    lines = ["f = Flatten (x)", "a = MatMul (f, w1)", "h = Relu (a)", "z = MatMul (h, w2)", tail]
    tensors = {"w1": rng.standard_normal((64, hidden)) / 6, "w2": rng.standard_normal((hidden, 10)) / 4}
    if first:
        lines.insert(3, "features = MatMul (h, w3)")
        tensors["w3"] = rng.standard_normal((hidden, first))
    held = {name: value for name, value in TENSORS.items() if name in tail}
    return text_model(f"m (float[N, 1, 8, 8] x) => ({outputs})", lines, {**tensors, **held})


PLAIN = ending("y = Identity (z)", "float[N, 10] y")


@pytest.mark.parametrize("pick", PICKS)
def test_what_picks_classes_is_left_out_of_the_training_and_stays_in_the_file(
    trainer: LocalTrainer, pick: str, tmp_path: Path
) -> None:
    given_model, data = model(ending(*PICKS[pick])), digits()
    assert head(given_model).logits == "z"
    fed = as_expected(given_model, data)
    assert any("is left out of the training and stays in the file" in note for note in fed.notes)
    facts = {f.operator: f.status for f in training_report(given_model, trainer=trainer.name)}
    assert facts["ArgMax" if "ArgMax" in facts else "TopK"] == "rewritten"

    def trained(start: Model) -> Model:
        return trainer.train(start, data, SETTINGS, state=State(), steps=30, evaluate_every=0).model

    result, plain = trained(given_model), trained(model(PLAIN))
    for name in ("w1", "w2"):
        np.testing.assert_array_equal(result.tensor(name), plain.tensor(name))
    ours, theirs = evaluate(result, data, "test"), evaluate(plain, data, "test")
    np.testing.assert_array_equal(ours.scores, theirs.scores)
    assert ours.loss == theirs.loss
    again = ps.load(ps.save(result, tmp_path / "result.onnx"))
    assert [(p.name, p.dtype) for p in again.outputs] == [(p.name, p.dtype) for p in given_model.outputs]
    x = data.normalized(data.test.x[:50])
    classes = Session(again).run({"x": x})["y"].reshape(50, -1)
    best = np.argsort(-Session(plain).run({"x": x})["y"], axis=1)
    np.testing.assert_array_equal(classes, best[:, : classes.shape[1]])


def test_a_choice_among_samples_is_none_of_classes() -> None:
    lines = ["f = Flatten (x)", "z = MatMul (f, w)", "y = ArgMax <axis = 0, keepdims = 0> (z)"]
    proto = text_model("m (float[N, 1, 8, 8] x) => (float[N, 10] z, int64[10] y)", lines, {"w": np.zeros((64, 10))})
    assert head(model(proto)).output == "z"


def test_the_output_that_labels_fit_is_taken_and_said() -> None:
    two = "float[N, 8] features, float[N, 10] logits"
    tail = "logits = Identity (z)"
    proto = ending(tail, two, first=8)
    found = as_expected(model(proto), digits())
    assert found.output == "logits"
    assert "the labels are of output 'logits', the only one that they fit" in found.summary()
    assert ps.doctor(model(proto), digits()).trains
    first = as_expected(model(ending(tail, "float[N, 10] logits, float[N, 8] features", first=8)), digits())
    assert (first.output, first.notes) == ("", as_expected(model(PLAIN), digits()).notes)
    both = model(ending(tail, "float[N, 10] features, float[N, 10] logits", first=10))
    assert (
        "'features', the first of those that they fit (features, logits); --output-name takes another"
        in as_expected(both, digits()).summary()
    )
    assert as_expected(both, replace(digits(), output="logits")).output == "logits"


@given(order=st.permutations(["features", "logits", "label", "probabilities"]))
def test_the_output_is_found_whatever_the_order(order: list[str]) -> None:
    ports = {
        "features": "float[N, 8] features",
        "logits": "float[N, 10] logits",
        "label": "int64[N] label",
        "probabilities": "float[N, 10] probabilities",
    }
    tail = """logits = Identity (z) probabilities = Softmax <axis = 1> (logits)
        label = ArgMax <axis = 1, keepdims = 0> (probabilities)"""
    given_model = model(ending(tail, ", ".join(ports[name] for name in order), first=8))
    found = as_expected(given_model, digits(200))
    end = head(given_model, "classification", found.output)
    assert end.output in ("logits", "probabilities")
    assert end.logits in ("z", "logits")
    plain = evaluate(model(PLAIN), digits(200), "test")
    assert evaluate(given_model, found, "test").accuracy == pytest.approx(plain.accuracy)


def test_who_names_an_output_gets_that_one() -> None:
    start = model(ending("logits = Identity (z)", "float[N, 10] features, float[N, 10] logits", first=10))
    trained = ps.train(start, "digits", output_name="logits", limit=200, steps=20)
    moved = [n for n in start.trainable() if (start.tensor(n) != trained.model.tensor(n)).any()]
    assert sorted(moved) == ["w1", "w2"]
    with pytest.raises(UsageError, match=r"no output 'last' of floats; it has features, logits"):
        ps.doctor(start, "digits", output_name="last")
    x, y = np.ones((20, 1, 8, 8), np.float32), np.arange(20) % 10
    several = data_package.load({"x_train": x, "y_features_train": y, "y_logits_train": y}, output_name="logits")
    with pytest.raises(UsageError, match="are of the outputs features, logits"):
        as_expected(start, several)


# --- labels that are not counted from 0 ------------------------------------------------------------------------------------


@given(numbers=st.sets(st.integers(0, 14), min_size=3, max_size=3), places=st.booleans())
def test_labels_from_one_or_with_gaps_are_outputs_in_their_order(numbers: set[int], places: bool) -> None:
    ordered = sorted(numbers)
    y = np.array(ordered)[np.arange(60) % 3]
    x = np.eye(3, dtype=np.float32)[np.arange(60) % 3] * 9
    proto = text_model("m (float[N, 3] x) => (float[N, 3] y)", ["y = MatMul (x, w)"], {"w": np.eye(3)})
    if places:
        x, y = np.repeat(x[:, None], 2, axis=1), np.repeat(y[:, None], 2, axis=1)
        y[::7, 1] = -1
        proto = text_model("m (float[N, T, 3] x) => (float[N, T, 3] y)", ["y = MatMul (x, w)"], {"w": np.eye(3)})
    data = data_package.load({"x_train": x, "y_train": y}, normalize="none")
    found = as_expected(model(proto), data)
    assert evaluate(model(proto), found, "test").accuracy == pytest.approx(1)
    if ordered == [0, 1, 2]:
        assert found.classes == ("0", "1", "2")
        return
    assert found.classes == tuple(map(str, ordered))
    assert f"label {ordered[0]} is output 0" in found.summary()


def test_classes_without_samples_stay_where_the_model_has_outputs_for_them() -> None:
    y = np.array([1, 2, 4])[np.arange(60) % 3]
    data = data_package.load({"x_train": np.ones((60, 3), np.float32), "y_train": y}, normalize="none")
    five = text_model("m (float[N, 3] x) => (float[N, 5] y)", ["y = MatMul (x, w)"], {"w": np.ones((3, 5))})
    assert as_expected(model(five), data).classes == ("0", "1", "2", "3", "4")


# --- float64 --------------------------------------------------------------------------------------------------------------


def doubled(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same in float64 throughout."""
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for tensor in copy.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            wide: Array = numpy_helper.to_array(tensor).astype(np.float64) * (1 + 1e-9)
            tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
    for port in (*copy.graph.input, *copy.graph.output):
        port.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    return copy


def test_float64_is_read_trained_and_compared(tmp_path: Path) -> None:
    import onnxruntime as ort

    path = tmp_path / "wide.onnx"
    path.write_bytes(doubled(PLAIN).SerializeToString())
    loaded = ps.load(path)
    assert "its weights are float64; it is read, trained and saved in float32" in loaded.notes[0]
    trained = ps.train(loaded, "digits", limit=400, steps=150, output=tmp_path / "trained.onnx")
    assert trained.test_accuracy > 0.4
    assert {p.dtype for p in (*trained.model.inputs, *trained.model.outputs)} == {np.dtype(np.float32)}
    x = np.random.default_rng(0).standard_normal((9, 1, 8, 8))
    raw = ort.InferenceSession(str(path)).run(None, {"x": x})[0]
    np.testing.assert_allclose(Session(loaded).run({"x": x.astype(np.float32)})["y"], raw, rtol=1e-4, atol=1e-5)
    assert ps.compare(path, path, "digits").max_error == 0
    assert ps.compare(path, trained.model, "digits").b.accuracy == trained.test_accuracy
