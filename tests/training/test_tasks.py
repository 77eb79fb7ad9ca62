"""What can be learnt: losses against torch, several inputs, numbers of tokens, parts of a batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines import needs_ort
from starts import text_model

from pysurgeon import data as datasets
from pysurgeon.data import Batches, Dataset, Split
from pysurgeon.errors import DataError, ModelError, TrainingError, UsageError
from pysurgeon.graph import Array
from pysurgeon.model import Model, from_proto
from pysurgeon.training import (
    LocalTrainer,
    Outcome,
    Schedule,
    State,
    TrainSettings,
    WorkerTrainer,
    evaluate,
    fit_input,
    training_graph,
)
from pysurgeon.training.engines.engine import make_engine
from pysurgeon.training.losses.loss import Loss
from pysurgeon.training.losses.making import make_loss, make_metric
from pysurgeon.training.task.head import head

from .zoo import CLASSES, cnn, images, losses_of, mlp, network

RNG = np.random.default_rng(5)
RARE = np.array([0, 0, 0, 1, 2, 3, 4, 0, 0, 1, 2, 0])


def dataset(y: Array, *, task: Any = "classification", x: Array | None = None, classes: int = len(CLASSES)) -> Dataset:
    x = RNG.standard_normal((len(y), 3, 8, 8)).astype(np.float32) if x is None else x
    part = Split(x, y)
    names = tuple(map(str, range(classes)))
    return Dataset.build("d", train=part, validation=part, test=part, classes=names, normalize="none", task=task)


def engine_gradients(
    trainer: LocalTrainer, model: Model, data: Dataset, loss: Loss, rows: slice = slice(None)
) -> tuple[float, dict[str, Array]]:
    fit = fit_input(model, data)
    engine = make_engine(trainer.name, training_graph(model, loss, trainer=trainer.name), loss)
    found = engine.step(fit.feeds(data.train.x[rows]), loss.arrays(data.train.y[rows]))
    return found, {name: g.copy() for name, g in engine.gradients.items()}


def torch_gradients(module: Any, data: Dataset, loss: Any) -> tuple[float, dict[str, Array]]:
    import torch

    module.train()
    value = loss(module(torch.from_numpy(data.train.x.copy())), torch.from_numpy(data.train.y.copy()))
    value.backward()
    return value.item(), {name: p.grad.numpy() for name, p in module.named_parameters()}


MULTI = (RNG.random((12, 5)) < 0.3).astype(np.float32)
NUMBERS = (RNG.standard_normal((12, 5)) * [1, 10, 100, 0.1, 3] + 7).astype(np.float32)


def torch_case(name: str) -> tuple[Dataset, dict[str, Any], Any]:
    import torch
    from torch.nn import functional

    balanced = torch.tensor([len(RARE) / (5 * (k == RARE).sum()) for k in range(5)], dtype=torch.float32)
    rarity = torch.tensor((1 - MULTI).sum(0) / MULTI.sum(0))
    deviation = torch.from_numpy(NUMBERS.std(0))
    cases: dict[str, tuple[Dataset, dict[str, Any], Any]] = {
        "classes": (dataset(RARE), {}, functional.cross_entropy),
        "class weights": (
            dataset(RARE),
            {"class_weights": "balanced"},
            lambda z, y: functional.cross_entropy(z, y, weight=balanced),
        ),
        "smoothing": (
            dataset(RARE),
            {"smoothing": 0.2},
            lambda z, y: functional.cross_entropy(z, y, label_smoothing=0.2),
        ),
        "both": (
            dataset(RARE),
            {"smoothing": 0.2, "class_weights": "balanced"},
            lambda z, y: functional.cross_entropy(z, y, weight=balanced, label_smoothing=0.2),
        ),
        "labels": (dataset(MULTI, task="multi-label"), {}, functional.binary_cross_entropy_with_logits),
        "label weights": (
            dataset(MULTI, task="multi-label"),
            {"class_weights": "balanced"},
            lambda z, y: functional.binary_cross_entropy_with_logits(z, y, pos_weight=rarity),
        ),
        "numbers": (
            dataset(NUMBERS, task="regression"),
            {},
            lambda z, y: functional.mse_loss(z / deviation, y / deviation),
        ),
    }
    return cases[name]


@pytest.mark.parametrize(
    "name", ["classes", "class weights", "smoothing", "both", "labels", "label weights", "numbers"]
)
def test_losses_and_gradients_are_those_of_torch(trainer: LocalTrainer, name: str) -> None:
    data, options, torch_loss = torch_case(name)
    expected, theirs = torch_gradients(mlp(), data, torch_loss)
    found, ours = engine_gradients(trainer, network("mlp"), data, make_loss(network("mlp"), data, **options))
    assert found == pytest.approx(expected, rel=1e-5)
    for parameter, gradient in theirs.items():
        np.testing.assert_allclose(ours[parameter], gradient, atol=1e-5 * np.abs(gradient).max())


@pytest.mark.parametrize("name", ["classes", "labels", "numbers"])
def test_what_is_measured_is_the_loss_without_weights_and_smoothing(name: str) -> None:
    import torch

    data, _, torch_loss = torch_case(name)
    z = RNG.standard_normal((12, 5)).astype(np.float32) * 3
    expected = torch_loss(torch.from_numpy(z), torch.from_numpy(data.train.y.copy())).item()
    assert losses_of(make_loss(network("mlp"), data), z, data.train.y).mean() == pytest.approx(expected, rel=1e-5)


def score(data: Dataset, output: Array) -> float:
    metric = make_metric(network("mlp"), data)
    assert metric is not None
    sums, counts = metric.scores({"y": output}, data.train.y, {})
    return float(sums.sum() / counts.sum())


def test_scores_say_how_much_is_right() -> None:
    numbers, labels = dataset(NUMBERS, task="regression"), dataset(MULTI, task="multi-label")
    assert score(numbers, NUMBERS) == 1.0
    assert score(numbers, np.tile(NUMBERS.mean(0), (12, 1))) == pytest.approx(0.0, abs=1e-5)
    wrong = np.where(MULTI > 0, 5.0, -5.0).astype(np.float32)
    wrong[0, 0] *= -1
    assert score(labels, wrong) == pytest.approx(1 - 1 / 60)


def test_a_label_cannot_make_the_engine_read_out_of_bounds() -> None:
    data = dataset(RARE)
    with pytest.raises(IndexError):
        make_loss(network("mlp"), data).arrays(np.array([0, 5]))


def test_weights_and_smoothing_are_refused_for_numbers() -> None:
    data = dataset(NUMBERS, task="regression")
    for options in ({"class_weights": "balanced"}, {"smoothing": 0.1}):
        with pytest.raises(UsageError, match="numbers to predict"):
            make_loss(network("mlp"), data, **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="from 0 to below 1"):
        make_loss(network("mlp"), dataset(RARE), smoothing=1.0)


def test_gradients_of_the_parts_of_a_batch_add_up_to_those_of_the_batch(trainer: LocalTrainer) -> None:
    model, data = network("cnn", norm=False), images()
    base = TrainSettings(Schedule(5e-3, 20), batch_size=30, class_weights="balanced", label_smoothing=0.1)
    whole, parts = (
        trainer.train(model, data, s, state=State(), steps=5, evaluate_every=1)
        for s in (base, replace(base, micro_batch=8))
    )
    assert [p.train_loss for p in parts.history] == pytest.approx([p.train_loss for p in whole.history], rel=1e-5)
    for name in model.trainable():
        np.testing.assert_allclose(parts.model.tensor(name), whole.model.tensor(name), atol=2e-5)


def test_frozen_statistics_stay_and_gradients_are_those_of_torch_at_inference(trainer: LocalTrainer) -> None:
    import torch

    module, model, data = cnn(), network("cnn", dynamo=True), images()
    settings = TrainSettings(Schedule(5e-3, 20), batch_size=32, statistics="frozen")
    x, y = Batches(data, 32, seed=0).batch(0)
    module.eval()
    torch.nn.functional.cross_entropy(module(torch.from_numpy(x)), torch.from_numpy(y)).backward()
    loss = make_loss(model, data)
    view = training_graph(model, loss, freeze_statistics=True, trainer=trainer.name)
    engine = make_engine(trainer.name, view, loss)
    engine.step({model.inputs[0].name: x}, loss.arrays(y))
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(engine.gradients[name], parameter.grad.numpy(), atol=1e-5)
    learnt = trainer.train(model, data, settings, state=State(), steps=3, evaluate_every=3).model
    for name in model.statistics():
        np.testing.assert_array_equal(learnt.tensor(name), model.tensor(name))
    assert not np.array_equal(learnt.tensor("conv1.weight"), model.tensor("conv1.weight"))


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_it_learns_labels_and_numbers(trainer: LocalTrainer, task: Any) -> None:
    x = RNG.standard_normal((200, 3, 8, 8)).astype(np.float32)
    numbers = x.reshape(200, -1) @ RNG.standard_normal((192, 5)) / 14
    y = ((numbers > 0) if task == "multi-label" else 100 * numbers + 40).astype(np.float32)
    data = dataset(y, task=task, x=x)
    settings = TrainSettings(Schedule(2e-2, 400), batch_size=50)
    result = trainer.train(network("mlp"), data, settings, state=State(), steps=400, evaluate_every=200)
    assert result.outcome is Outcome.DONE
    first, last = result.history[0], result.history[-1]
    assert last.validation_loss < first.validation_loss
    assert last.validation_accuracy > 0.8
    assert evaluate(result.model, data, "test").metric == {"multi-label": "label accuracy", "regression": "R²"}[task]


def test_a_final_sigmoid_is_recognised_and_stays_in_the_file(trainer: LocalTrainer) -> None:
    lines = ["f = Flatten (x)", "z = MatMul (f, w)", "y = Sigmoid (z)"]
    tensors = {"w": RNG.standard_normal((192, 5)) / 10}
    model = from_proto(text_model("m (float[N, 3, 8, 8] x) => (float[N, 5] y)", lines, tensors))
    assert (head(model, "multi-label").kind, head(model, "multi-label").logits) == ("probabilities", "z")
    assert head(model, "regression").kind == "logits"
    view = training_graph(model, "multi-label", trainer=trainer.name)
    assert [n.op_type for n in view.proto.graph.node] == ["Flatten", "MatMul"]
    data = dataset(MULTI, task="multi-label")
    found, _ = engine_gradients(trainer, model, data, make_loss(model, data))
    assert found == pytest.approx(evaluate(model, data, "train").loss, rel=1e-5)


def test_a_model_that_gives_labels_only_is_refused() -> None:
    lines = ["f = Flatten (x)", "y = Cast <to = 7> (f)"]
    model = from_proto(text_model("m (float[N, 3, 8, 8] x) => (int64[N, 192] y)", lines, {}))
    with pytest.raises(ModelError, match=r"'y' \(int64\).*export the model with its logits"):
        head(model)


def test_two_classes_may_be_told_by_one_probability(trainer: LocalTrainer) -> None:
    lines = ["f = Flatten (x)", "z = MatMul (f, w)", "y = Sigmoid (z)"]
    model = from_proto(text_model("m (float[N, 3, 8, 8] x) => (float[N, 1] y)", lines, {"w": np.zeros((192, 1))}))
    x = RNG.standard_normal((120, 3, 8, 8)).astype(np.float32)
    data = dataset((x[:, 0].sum((1, 2)) > 0).astype(np.int64), x=x, classes=2)
    settings = TrainSettings(Schedule(1e-2, 60), batch_size=40)
    result = trainer.train(model, data, settings, state=State(), steps=60, evaluate_every=60)
    assert result.history[-1].validation_accuracy > 0.9
    assert evaluate(result.model, data, "test").metric == "accuracy"
    with pytest.raises(DataError, match=r"5 classes.*\(batch, 5\)"):
        make_loss(model, dataset(RARE))


TEXT = """e = Gather (table, ids)
m = Cast <to = 1> (mask)
m3 = Unsqueeze (m, last)
kept = Mul (e, m3)
s = ReduceSum <keepdims = 0> (kept, one)
h = Tanh (s)
y = MatMul (h, w)"""


def text_data(count: int = 200) -> dict[str, Array]:
    """The class is the token that stands where the mask ends."""
    rng = np.random.default_rng(2)
    ids, ends = rng.integers(0, 3, (count, 6)), rng.integers(1, 7, count)
    mask = (np.arange(6) < ends[:, None]).astype(np.int32)
    y = (np.where(mask > 0, ids == 2, False)).any(1).astype(np.int64)
    return {"ids_train": ids, "mask_train": mask, "y_train": y}


def text_classifier() -> Model:
    rng = np.random.default_rng(0)
    tensors = {
        "table": rng.standard_normal((3, 8)),
        "w": rng.standard_normal((8, 2)),
        "last": np.array([2]),
        "one": np.array([1]),
    }
    signature = "m (int64[N, T] ids, int32[N, T] mask) => (float[N, 2] y)"
    return from_proto(text_model(signature, TEXT.splitlines(), tensors))


def test_named_arrays_feed_the_inputs_of_their_names(tmp_path: Path) -> None:
    np.savez(tmp_path / "text.npz", **text_data())  # type: ignore[arg-type]
    data = datasets.load(str(tmp_path / "text.npz"))
    assert data.train.named.keys() == {"ids", "mask"}
    assert "ids 6 int64, mask 6 int64" in data.summary()
    model = text_classifier()
    settings = TrainSettings(Schedule(3e-2, 80), batch_size=32, micro_batch=9)
    with WorkerTrainer() as trainer:
        trainer.check(model, data)
        result = trainer.train(model, data, settings, state=State(), steps=80, evaluate_every=80)
    assert result.history[-1].validation_accuracy > 0.9
    x, _ = Batches(data, 4, seed=1).batch(3)
    assert isinstance(x, dict)
    assert fit_input(model, data).feeds(x)["mask"].dtype == np.int32


def test_inputs_and_arrays_must_have_the_same_names() -> None:
    arrays = text_data()
    part = Split(arrays["ids_train"], arrays["y_train"], {"ids": arrays["ids_train"], "extra": arrays["ids_train"]})
    data = Dataset.build("text", train=part, validation=part, test=part, classes=("a", "b"))
    with pytest.raises(DataError, match=r"inputs ids, mask.*arrays for ids, extra"):
        fit_input(text_classifier(), data)
    with pytest.raises(DataError, match=r"2 inputs \(ids, mask\).*ids_train"):
        fit_input(text_classifier(), images())


def test_tokens_are_fed_as_they_are_and_time_may_come_first(trainer: LocalTrainer) -> None:
    lines = ["e = Gather (table, ids)", "s = ReduceMean <axes = [0], keepdims = 0> (e)", "y = MatMul (s, w)"]
    tensors = {"table": RNG.standard_normal((9, 4)), "w": RNG.standard_normal((4, 5))}
    model = from_proto(text_model("m (int64[T, N] ids) => (float[N, 5] y)", lines, tensors))
    x = RNG.integers(0, 9, (12, 7))
    data = dataset(RARE, x=x)
    fit = fit_input(model, data)
    assert fit.inputs[0].axis == 1
    np.testing.assert_array_equal(fit.feeds(x)["ids"], x.T)
    settings = TrainSettings(Schedule(1e-2, 10), batch_size=6, micro_batch=4)
    result = trainer.train(model, data, settings, state=State(), steps=10, evaluate_every=10)
    assert result.outcome is Outcome.DONE


def test_a_token_outside_of_the_table_is_an_error_and_no_crash(trainer: LocalTrainer) -> None:
    """Behind an operator, where nobody but the engine can see it."""
    lines = [
        "i = Abs (ids)",
        "e = Gather (table, i)",
        "s = ReduceMean <axes = [1], keepdims = 0> (e)",
        "y = MatMul (s, w)",
    ]
    tensors = {"table": RNG.standard_normal((9, 4)), "w": RNG.standard_normal((4, 5))}
    model = from_proto(text_model("m (int64[N, T] ids) => (float[N, 5] y)", lines, tensors))
    data = dataset(RARE, x=RNG.integers(0, 9, (12, 7)) + 10**6)
    with WorkerTrainer(trainer=trainer.name) as worker, pytest.raises(TrainingError, match=r"ind(ices|ex).* out of "):
        worker.check(model, data)


def test_nesterov_looks_ahead_as_torch_does(trainer: LocalTrainer) -> None:
    import torch

    module, model, data = mlp(), network("mlp"), images()
    settings = TrainSettings(Schedule(5e-2, 10), batch_size=32, optimizer="nesterov", weight_decay=0.0, clip=None)
    learnt = trainer.train(model, data, settings, state=State(), steps=4, evaluate_every=4).model
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0, momentum=0.9, nesterov=True)
    batches = Batches(data, 32, seed=0)
    for step in range(4):
        x, y = batches.batch(step)
        optimizer.param_groups[0]["lr"] = settings.schedule.at(step)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        optimizer.step()
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(learnt.tensor(name), parameter.detach().numpy(), atol=1e-5)


@needs_ort
def test_a_device_that_is_not_there_is_refused_with_what_to_install() -> None:
    settings = TrainSettings(Schedule(1e-2, 10), device="cuda")
    with pytest.raises(TrainingError, match=r"GPU build.*CPUExecutionProvider.*onnxruntime-training"):
        LocalTrainer().train(network("mlp"), images(), settings, state=State(), steps=1, evaluate_every=1)


def test_an_output_that_does_not_count_samples_is_refused() -> None:
    # What converters make of a table of numbers: three rows for every sample.
    lines = ["z = MatMul (x, w)", "y = Reshape (z, s)"]
    tensors = {"w": np.ones((4, 3)), "s": np.array([-1, 1])}
    model = from_proto(text_model("m (float[N, 4] x) => (float[M, 1] y)", lines, tensors))
    part = Split(RNG.standard_normal((6, 4)).astype(np.float32), RNG.standard_normal(6).astype(np.float32))
    data = Dataset.build("d", train=part, validation=part, test=part, classes=("0",), task="regression")
    with pytest.raises(DataError, match=r"'y'.*does not count the samples"):
        make_loss(model, data)


def test_exported_classifiers_of_sequences_train(trainer: LocalTrainer) -> None:
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.cell, self.head = nn.Embedding(9, 6), nn.RNN(6, 8, bidirectional=True), nn.Linear(16, 5)

        def forward(self, x: Any) -> Any:
            return self.head(self.cell(self.embed(x))[0][-1])

    import torch

    model = from_proto(_sequence_export(Net(), torch))
    data = dataset(RARE, x=RNG.integers(0, 9, (12, 7)))
    settings = TrainSettings(Schedule(1e-2, 30), batch_size=12)
    result = trainer.train(model, data, settings, state=State(), steps=30, evaluate_every=10)
    losses = [p.train_loss for p in result.history]
    assert losses[0] > losses[1] > losses[2]


def _sequence_export(module: Any, torch: Any) -> Any:
    import io

    import onnx

    from .zoo import quiet

    buffer = io.BytesIO()
    with quiet():
        torch.onnx.export(
            module.eval(),
            (torch.zeros(7, 2, dtype=torch.int64),),
            buffer,
            dynamo=False,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "T", 1: "N"}, "y": {0: "N"}},
            opset_version=17,
        )
    return onnx.load_model_from_string(buffer.getvalue())
