"""Learning from a teacher: no labels, any output of floats, and as much of it as is reproduced."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starts import text_model

import pysurgeon as ps
from pysurgeon import data as datasets
from pysurgeon.data import Batches, Dataset
from pysurgeon.errors import DataError, UsageError
from pysurgeon.graph import Array
from pysurgeon.model import Model, from_proto
from pysurgeon.model.session import Session
from pysurgeon.training import LocalTrainer, Outcome, Schedule, State, TrainSettings, WorkerTrainer, evaluate, load_for
from pysurgeon.training.losses.making import make_loss, teacher_of
from pysurgeon.training.task import teacher as module
from pysurgeon.training.task.goal import teacher_named, with_goal
from pysurgeon.training.task.teacher import Teacher
from pysurgeon.training.task.training_data import TrainingData

from .test_losses import ROWS, dataset, linear
from .zoo import images, network

SETTINGS = TrainSettings(Schedule(2e-2, 200), batch_size=32)


def detector(hidden: int = 12, *, seed: int = 0) -> Model:
    """Three outputs of floats and one of integers, for samples without labels."""
    rng = np.random.default_rng(seed)
    lines = [
        "a = MatMul (x, w)",
        "h = Tanh (a)",
        "boxes = MatMul (h, b)",
        "z = MatMul (h, c)",
        "scores = Sigmoid (z)",
        "k = MatMul (h, d)",
        "kinds = Softmax <axis = 1> (k)",
        "best = ArgMax <axis = 1> (k)",
    ]
    tensors = {
        "w": rng.standard_normal((8, hidden)) / 2,
        "b": 100 * rng.standard_normal((hidden, 4)),
        "c": rng.standard_normal((hidden, 3)),
        "d": rng.standard_normal((hidden, 5)),
    }
    signature = "m (float[N, 8] x) => (float[N, 4] boxes, float[N, 3] scores, float[N, 5] kinds, int64[N, 1] best)"
    return from_proto(text_model(signature, lines, tensors))


def unlabelled(count: int = 320, *, seed: int = 5) -> Dataset:
    x = np.random.default_rng(seed).standard_normal((count, 8)).astype(np.float32)
    return datasets.load({"x_train": x}, normalize="none")


def test_samples_may_come_without_labels() -> None:
    data = unlabelled()
    assert (data.task, data.train.y.shape[1:], data.classes) == ("unlabelled", (0,), ())
    assert "no labels" in data.summary()
    assert (len(data.train), len(data.validation), len(data.test)) == (216, 24, 80)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)], ids=str)
def test_every_output_of_a_teacher_is_learnt(trainer: LocalTrainer, shape: tuple[int, ...]) -> None:
    teacher, student = (linear(shape, seed=s) if shape else linear((1,), seed=s) for s in (0, 1))
    data = with_goal(unlabelled(), student, None, Teacher(teacher, "t"))
    result = trainer.train(student, data, SETTINGS, state=State(), steps=200, evaluate_every=100)
    first, last = evaluate(student, data, "validation"), result.history[-1]
    assert last.validation_loss < 0.2 * first.loss
    assert last.validation_accuracy > 0.8 > first.accuracy
    assert evaluate(result.model, data, "test").metric == "R² to the teacher"


def test_each_output_is_learnt_as_what_it_is(trainer: LocalTrainer) -> None:
    teacher, student = detector(), detector(seed=1)
    data = with_goal(unlabelled(), student, None, Teacher(teacher, "t"))
    loss = make_loss(student, data)
    assert loss.values == ("boxes", "z", "k")
    assert [term.factor for term in loss.terms] == [1 / 3] * 3
    same = with_goal(unlabelled(), teacher, None, Teacher(teacher, "t"))
    assert evaluate(teacher, same, "test").accuracy == pytest.approx(1.0, abs=1e-6)
    result = trainer.train(student, data, SETTINGS, state=State(), steps=200, evaluate_every=100)
    assert result.history[-1].validation_loss < 0.5 * evaluate(student, data, "validation").loss
    x = data.train.x[:50]
    ours, theirs, before = (Session(m).run(x) for m in (result.model, teacher, student))
    for name in ("boxes", "scores", "kinds"):
        assert np.abs(ours[name] - theirs[name]).mean() < 0.5 * np.abs(before[name] - theirs[name]).mean()


def test_a_narrowed_network_gets_its_outputs_back_without_labels() -> None:
    data, start = unlabelled(), detector(24)
    small = ps.apply(start, "narrow:a=14", data=data).model
    taught = with_goal(data, small, None, Teacher(start, "start"))
    before = evaluate(small, taught, "test")
    with WorkerTrainer() as trainer:
        trainer.check(small, taught)
        result = trainer.train(small, taught, SETTINGS, state=State(), steps=200, evaluate_every=0)
    assert result.outcome is Outcome.DONE
    after = evaluate(result.model, taught, "test")
    assert 1 - after.accuracy < 0.85 * (1 - before.accuracy)
    assert after.loss < before.loss


def test_labels_that_there_are_tell_the_score(trainer: LocalTrainer) -> None:
    data, model = images(), network("mlp")
    learnt = trainer.train(model, data, SETTINGS, state=State(), steps=100, evaluate_every=0).model
    taught = with_goal(data, model, None, Teacher(learnt, "t"))
    figures = evaluate(learnt, taught, "test")
    assert (figures.metric, figures.accuracy) == ("accuracy", evaluate(learnt, data, "test").accuracy)
    assert figures.loss == pytest.approx(0.0, abs=1e-6)  # a divergence from itself
    result = trainer.train(model, taught, SETTINGS, state=State(), steps=100, evaluate_every=0)
    assert result.history[-1].validation_accuracy > 0.8


def test_what_a_teacher_gives_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = linear(ROWS)
    data = with_goal(unlabelled(), model, None, Teacher(linear(ROWS, seed=1), "t"))
    teacher = teacher_of(data)
    assert teacher is not None
    asked: list[int] = []
    values = Teacher.values

    def counted(self: Teacher, given: Dataset, names: Any, x: Any) -> dict[str, Array]:
        asked.append(len(x))
        return values(self, given, names, x)

    make_loss(model, data)  # units are taken once, too
    monkeypatch.setattr(Teacher, "values", counted)
    trainer, settings = LocalTrainer("torch"), replace(SETTINGS, batch_size=54)
    trainer.train(model, data, settings, state=State(), steps=12, evaluate_every=4)  # three epochs
    assert asked == [54] * 4 + [24]
    asked.clear()
    monkeypatch.setattr(module, "KEPT_BYTES", 0)
    fresh = pickle.loads(pickle.dumps(data))  # noqa: S301  (as a worker gets it)
    trainer.train(model, fresh, settings, state=State(), steps=8, evaluate_every=0)
    assert asked.count(54) == 8


def test_a_teacher_sees_augmented_samples_as_the_model_does(trainer: LocalTrainer) -> None:
    model, data = network("cnn", norm=False), images()
    taught = with_goal(data, model, "squares", Teacher(model, "start"))
    # Not AdamW, which makes large steps of gradients that are nothing but rounding.
    settings = replace(SETTINGS, augment="flip-crop", weight_decay=0.0, optimizer="sgd")
    result = trainer.train(model, taught, settings, state=State(), steps=3, evaluate_every=0)
    assert result.history[-1].train_loss == pytest.approx(
        0.0, abs=1e-9
    )  # of other samples it would give something else


def test_units_are_pooled_over_the_places_of_a_channel() -> None:
    rng = np.random.default_rng(0)
    scale = np.array([1.0, 100.0])
    lines = ["f = Flatten (x)", "a = MatMul (f, w)", "r = Reshape (a, s)", "y = Add (r, o)"]
    w = (rng.standard_normal((8, 3, 2)) * scale).reshape(8, 6)
    w[:, 0] = 0.0  # a place that never changes is not worth more than others
    offset = np.full((3, 2), 1e4)
    model = from_proto(
        text_model("m (float[N, 8] x) => (float[N, 3, 2] y)", lines, {"w": w, "s": np.array([-1, 3, 2]), "o": offset})
    )
    data = unlabelled()
    mean, deviation = Teacher(model, "t").unit(data, "y", (3, 2))
    x = Batches(data, 216, seed=0).batch(0)[0]
    y = Session(model).run(x)["y"].astype(np.float64)  # type: ignore[arg-type]
    expected = np.sqrt(y.var(axis=0).mean(axis=0))
    np.testing.assert_allclose(mean[0], y.mean(axis=0), rtol=1e-3)
    np.testing.assert_allclose(deviation[0], np.tile(expected, (3, 1)), rtol=0.1)


def test_a_teacher_may_be_a_file(tmp_path: Path) -> None:
    ps.save(detector(), tmp_path / "t.onnx")
    x = np.random.default_rng(5).standard_normal((120, 8)).astype(np.float32)
    data = load_for({"x_train": x}, detector(6), teacher=tmp_path / "t.onnx")
    assert isinstance(data, TrainingData)
    assert data.metric == "R² to the teacher"
    assert "fed as it is" in data.summary()
    done = ps.train(detector(6), {"x_train": x}, teacher=str(tmp_path / "t.onnx"), epochs=2)
    assert done.metric == "R² to the teacher"
    run = ps.evolve(
        detector(16), {"x_train": x}, teacher="start", objective="size", tolerance=0.2, epochs=4, generations=1, branches=1,
        run=tmp_path / "run", workers=1,
    )  # fmt: skip
    assert run.metric == "R² to the teacher"
    assert run.result.parameters < run.start.parameters
    assert ps.resume(tmp_path / "run", {"x_train": x}).result == run.result


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    data, model = unlabelled(), detector()
    other = from_proto(
        text_model("m (float[N, 8] x) => (float[N, 6] boxes)", ["boxes = MatMul (x, w)"], {"w": np.ones((8, 6))})
    )
    with pytest.raises(DataError, match=r"'boxes' of the model is \(any, 4\).*teacher t is \(any, 6\)"):
        make_loss(model, with_goal(data, model, None, Teacher(other, "t")))
    with pytest.raises(DataError, match="teacher t has no output 'y'; it has boxes, scores, kinds"):
        make_loss(linear(ROWS), with_goal(data, linear(ROWS), None, Teacher(model, "t")))
    with pytest.raises(UsageError, match=r"class weights and label smoothing.*learnt from what a teacher gives"):
        make_loss(model, with_goal(data, model, None, Teacher(model, "t")), smoothing=0.1)
    with pytest.raises(DataError, match="no labels; give a teacher"):
        ps.train(model, data, epochs=1)
    assert teacher_named(None, model) is None
    noted = model.with_metadata({"pysurgeon.input": '{"scale": 1, "mean": [0], "std": [1]}'})
    ps.save(model.with_metadata({"pysurgeon.input": '{"scale": 1, "mean": [0], "std": [2]}'}), tmp_path / "t.onnx")
    with pytest.raises(DataError, match=r"normalized in different ways.*--normalize"):
        load_for({"x_train": data.train.x}, noted, teacher=tmp_path / "t.onnx")


def test_a_score_is_that_of_the_teacher_without_labels() -> None:
    """It is 1 less the mean of squares in units of the teacher's deviation."""
    teacher, model = linear((3,)), linear((3,), seed=1)
    data = with_goal(unlabelled(), model, "huber", Teacher(teacher, "t"))
    figures = evaluate(model, data, "test")
    x = data.test.x
    ours, theirs = (Session(m).run(x)["y"].astype(np.float64) for m in (model, teacher))
    deviation = Teacher(teacher, "t").unit(data, "y", (3,))[1]
    assert figures.accuracy == pytest.approx(1 - (((ours - theirs) / deviation) ** 2).mean(), rel=1e-4)
    assert len(figures.scores) == len(data.test)
    assert dataset().task == "unlabelled"
