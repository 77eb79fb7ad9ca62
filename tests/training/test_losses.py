"""Losses as graphs: gradients of each against torch's, on both engines; losses of the user's own; places with and without a class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from starts import text_model

from pysurgeon import data as datasets
from pysurgeon.data import Dataset, Split
from pysurgeon.errors import DataError, TrainingError, UsageError
from pysurgeon.graph import Array
from pysurgeon.model import Model, from_proto
from pysurgeon.training import (
    LocalTrainer,
    Schedule,
    State,
    TrainSettings,
    WorkerTrainer,
    evaluate,
    fit_input,
    training_graph,
)
from pysurgeon.training.engines.engine import make_engine
from pysurgeon.training.losses.making import make_loss, teacher_of
from pysurgeon.training.losses.shipped import LOSSES
from pysurgeon.training.losses.wanted import Wanted, parse
from pysurgeon.training.task.goal import with_goal
from pysurgeon.training.task.teacher import Teacher

RNG = np.random.default_rng(7)
COUNT, CLASSES = 12, 5
# Maps of two kinds: rows of vectors (n, 4, 5), whose last axis is the classes, and images (n, 5, 3, 4), whose first one is.
ROWS, IMAGES = (4, CLASSES), (CLASSES, 3, 4)


def linear(shape: tuple[int, ...], *, tail: str = "", seed: int = 0, opset: int = 17) -> Model:
    """A network of eight numbers, a dense layer and a tanh, that gives `shape`."""
    rng = np.random.default_rng(seed)
    count = int(np.prod(shape, initial=1))
    lines = ["a = MatMul (x, w)", "b = Tanh (a)", "c = MatMul (b, v)", f"{'z' if tail else 'y'} = Reshape (c, s)"]
    lines += [f"y = {tail} (z)"] if tail else []
    tensors = {
        "w": rng.standard_normal((8, 6)) / 2,
        "v": rng.standard_normal((6, count)),
        "s": np.array([-1, *shape]),
    }
    dims = ", ".join(map(str, ("N", *shape)))
    return from_proto(text_model(f"m (float[N, 8] x) => (float[{dims}] y)", lines, tensors, opset=opset))


def dataset(y: Array | None = None, *, task: Any = "classification", classes: int = CLASSES, seed: int = 3) -> Dataset:
    x = np.random.default_rng(seed).standard_normal((COUNT, 8)).astype(np.float32)
    if y is None:
        y, task, classes = np.zeros((COUNT, 0), np.float32), "unlabelled", 0
    part = Split(x, y)
    names = tuple(map(str, range(classes)))
    return Dataset.build("d", train=part, validation=part, test=part, classes=names, normalize="none", task=task)


def torch_outputs(model: Model, x: Array) -> tuple[Any, dict[str, Any]]:
    """What `linear` gives, before a final Softmax or Sigmoid, and its parameters."""
    import torch

    w, v = (torch.tensor(model.tensor(name).copy(), requires_grad=True) for name in ("w", "v"))
    z = torch.tanh(torch.from_numpy(x.copy()) @ w) @ v
    return z.reshape(-1, *map(int, model.tensor("s")[1:])), {"w": w, "v": v}


def check(trainer: LocalTrainer, model: Model, data: Dataset, torch_loss: Callable[[Any], Any]) -> None:
    """Loss, gradients and the loss that is measured are those of torch."""
    z, parameters = torch_outputs(model, data.train.x)
    expected = torch_loss(z)
    expected.backward()
    fit, loss, teacher = fit_input(model, data), make_loss(model, data), teacher_of(data)
    taught = {} if teacher is None else teacher.values(data, loss.taught, data.train.x)
    engine = make_engine(trainer.name, training_graph(model, loss, trainer=trainer.name), loss)
    found = engine.step(fit.feeds(data.train.x), loss.arrays(data.train.y, taught))
    assert found == pytest.approx(expected.item(), rel=2e-5)
    for name, parameter in parameters.items():
        theirs = parameter.grad.numpy()
        assert np.abs(theirs).max() > 1e-4
        np.testing.assert_allclose(engine.gradients[name], theirs, atol=2e-5 * np.abs(theirs).max())
    assert evaluate(model, data, "train").loss == pytest.approx(expected.item(), rel=2e-5)


def torch_case(name: str) -> tuple[Model, Dataset, Callable[[Any], Any]]:
    """A model, data with a loss, and the same loss by torch, of the model's logits."""
    import torch
    from torch.nn import functional as f

    one = RNG.integers(0, CLASSES, COUNT)
    tokens, pixels = RNG.integers(-1, CLASSES, (COUNT, 4)), RNG.integers(-1, CLASSES, (COUNT, 3, 4))
    labels = (RNG.random((COUNT, CLASSES)) < 0.4).astype(np.float32)
    numbers = (RNG.standard_normal((COUNT, *ROWS)) * 3 + 1).astype(np.float32)
    deviation, mean = torch.from_numpy(numbers.std(0)), torch.from_numpy(numbers.mean(0))
    y, t, p, b, n = (torch.from_numpy(a) for a in (one, tokens, pixels, labels, numbers))
    regression = dataset(numbers, task="regression")

    def unit(z: Any) -> Any:
        return (z - mean) / deviation

    def focal(z: Any) -> Any:
        entropy = f.cross_entropy(z, y, reduction="none")
        return ((1 - torch.exp(-entropy)) ** 1.5 * entropy).mean()

    def binary_focal(z: Any) -> Any:
        entropy = f.binary_cross_entropy_with_logits(z, b, reduction="none")
        return ((1 - torch.exp(-entropy)) ** 2 * entropy).mean()

    classes, several = dataset(one), dataset(labels, task="multi-label")
    cases: dict[str, tuple[tuple[int, ...], Dataset, str, Callable[[Any], Any]]] = {
        "cross-entropy": ((CLASSES,), classes, "cross-entropy", lambda z: f.cross_entropy(z, y)),
        "cross-entropy of tokens": (
            ROWS,
            dataset(tokens),
            "cross-entropy",
            lambda z: f.cross_entropy(z.reshape(-1, CLASSES), t.reshape(-1), ignore_index=-1),
        ),
        "cross-entropy of pixels": (
            IMAGES,
            dataset(pixels),
            "cross-entropy",
            lambda z: f.cross_entropy(z, p, ignore_index=-1),
        ),
        "focal": ((CLASSES,), classes, "focal(gamma=1.5)", focal),
        "binary": ((CLASSES,), several, "binary", lambda z: f.binary_cross_entropy_with_logits(z, b)),
        "binary-focal": ((CLASSES,), several, "binary-focal", binary_focal),
        "squares": (ROWS, regression, "squares", lambda z: f.mse_loss(unit(z), unit(n))),
        "absolute": (ROWS, regression, "absolute", lambda z: f.l1_loss(unit(z), unit(n))),
        "huber": (ROWS, regression, "huber(delta=0.7)", lambda z: f.huber_loss(unit(z), unit(n), delta=0.7)),
        "cosine": (ROWS, regression, "cosine", lambda z: (1 - f.cosine_similarity(z, n, dim=-1)).mean()),
        "a factor": (ROWS, regression, "3*squares", lambda z: 3 * f.mse_loss(unit(z), unit(n))),
        "a sum": (
            ROWS,
            regression,
            "y=squares, y=0.5*cosine",
            lambda z: f.mse_loss(unit(z), unit(n)) + 0.5 * (1 - f.cosine_similarity(z, n, dim=-1)).mean(),
        ),
    }
    shape, data, text, torch_loss = cases[name]
    model = linear(shape)
    return model, with_goal(data, model, text, None), torch_loss


NAMES = (
    "cross-entropy, cross-entropy of tokens, cross-entropy of pixels, focal, binary, binary-focal, squares, absolute, huber, cosine, "
    "a factor, a sum"
).split(", ")


@pytest.mark.parametrize("name", NAMES)
def test_losses_and_gradients_are_those_of_torch(trainer: LocalTrainer, name: str) -> None:
    check(trainer, *torch_case(name))


@pytest.mark.parametrize(
    "name", ["kl", "cross-entropy", "focal", "binary", "binary-focal", "squares", "absolute", "huber", "cosine"]
)
@pytest.mark.parametrize("shape", [(CLASSES,), ROWS, IMAGES], ids=str)
def test_losses_on_a_teacher_are_those_of_torch(trainer: LocalTrainer, name: str, shape: tuple[int, ...]) -> None:
    import torch
    from torch.nn import functional as f

    model, teacher = linear(shape), Teacher(linear(shape, seed=1), "t")
    data = with_goal(dataset(), model, "kl(temperature=3)" if name == "kl" else name, teacher)
    theirs = torch_outputs(linear(shape, seed=1), data.train.x)[0].detach()
    axis = 1 if len(shape) == 3 else -1
    unit = [torch.from_numpy(a.astype(np.float32)) for a in teacher.unit(data, "y", shape)]
    own = [(theirs - unit[0]) / unit[1], torch.softmax(theirs, axis), torch.sigmoid(theirs)]
    places = theirs[0].numel() // theirs.shape[axis] * COUNT

    def torch_loss(z: Any) -> Any:
        log = torch.log_softmax(z, axis)
        each = f.binary_cross_entropy_with_logits(z, own[2], reduction="none")
        wrong = torch.sigmoid(z) * (1 - own[2]) + (1 - torch.sigmoid(z)) * own[2]
        kl = f.kl_div(torch.log_softmax(z / 3, axis), torch.softmax(theirs / 3, axis), reduction="sum")
        u = (z - unit[0]) / unit[1]
        return {
            "kl": 9 * kl / places,
            "cross-entropy": -(own[1] * log).sum() / places,
            "focal": -(own[1] * (1 - log.exp()) ** 2 * log).sum() / places,
            "binary": each.mean(),
            "binary-focal": (wrong**2 * each).mean(),
            "squares": f.mse_loss(u, own[0]),
            "absolute": f.l1_loss(u, own[0]),
            "huber": f.huber_loss(u, own[0]),
            "cosine": (1 - f.cosine_similarity(z, theirs, dim=-1)).mean(),
        }[name]

    check(trainer, model, data, torch_loss)


def test_every_shipped_loss_is_compared() -> None:
    compared = {name.split(" ")[0] for name in NAMES} | {"kl", "itself"}
    assert compared >= set(LOSSES)


# --- losses of the user's own ---------------------------------------------------------------------------------------------


def scripted_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, name: str) -> str:
    """A module in the current folder with a function `loss`."""
    (tmp_path / f"{name}.py").write_text(body)
    monkeypatch.chdir(tmp_path)
    return f"{name}:loss"


TORCH = """
import torch
def loss(output, target):
    return torch.nn.functional.smooth_l1_loss(output, target, beta=0.5)
"""
TORCH_CLASSES = """
import torch
def loss(output, labels):
    weight = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0])
    return torch.nn.functional.cross_entropy(output, labels, weight=weight, ignore_index=2, reduction="none")
"""
SCRIPT = """
from onnxscript import script, opset17 as op
@script()
def loss(output, target):
    error = op.Abs(output - target)
    return op.ReduceMean(error * error * error, keepdims=0)
"""


def test_a_loss_may_be_a_function_of_torch(
    trainer: LocalTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    numbers = RNG.standard_normal((COUNT, *ROWS)).astype(np.float32)
    name, model = scripted_loss(tmp_path, monkeypatch, TORCH, "smooth"), linear(ROWS)
    data = with_goal(dataset(numbers, task="regression"), model, name, None)
    n = torch.from_numpy(numbers)
    check(trainer, model, data, lambda z: torch.nn.functional.smooth_l1_loss(z, n, beta=0.5))
    assert evaluate(model, data, "test").metric == "R²"


def test_a_loss_may_take_the_numbers_of_classes(
    trainer: LocalTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    labels = RNG.integers(0, CLASSES, COUNT)
    name, model = scripted_loss(tmp_path, monkeypatch, TORCH_CLASSES, "classes"), linear((CLASSES,))
    data = with_goal(dataset(labels), model, name, None)
    options = {"weight": torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0]), "ignore_index": 2, "reduction": "none"}
    check(
        trainer, model, data, lambda z: torch.nn.functional.cross_entropy(z, torch.from_numpy(labels), **options).mean()
    )
    assert evaluate(model, data, "test").metric == "accuracy"


def test_a_loss_may_be_a_function_of_onnxscript(
    trainer: LocalTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    numbers = RNG.standard_normal((COUNT, *ROWS)).astype(np.float32)
    name, model = scripted_loss(tmp_path, monkeypatch, SCRIPT, "cubes"), linear(ROWS)
    data = with_goal(dataset(numbers, task="regression"), model, name, None)
    n = torch.from_numpy(numbers)
    check(trainer, model, data, lambda z: ((z - n).abs() ** 3).mean())


def own_file(tmp_path: Path, lines: list[str], inputs: str, *, opset: int = 17) -> str:
    path = tmp_path / "loss.onnx"
    onnx.save(text_model(f"l ({inputs}) => (float loss)", lines, {}, opset=opset), str(path))
    return str(path)


@pytest.mark.parametrize(("opset", "models"), [(17, 17), (13, 17), (18, 17), (17, 20)])
def test_a_loss_may_be_a_file_in_another_operator_set(
    trainer: LocalTrainer, tmp_path: Path, opset: int, models: int
) -> None:
    """It takes what the data holds and what a teacher gives, by the names of its inputs."""
    import torch

    axes = "<keepdims = 0>"
    lines = ["d = Sub (y, target)", "e = Sub (y, teacher)", "s = Mul (d, e)", f"loss = ReduceMean {axes} (s)"]
    path = own_file(tmp_path, lines, "float[N, 4, 5] y, float[N, 4, 5] target, float[N, 4, 5] teacher", opset=opset)
    numbers = RNG.standard_normal((COUNT, *ROWS)).astype(np.float32)
    model, teacher = linear(ROWS, opset=models), Teacher(linear(ROWS, seed=1), "t")
    data = with_goal(dataset(numbers, task="regression"), model, path, teacher)
    theirs, n = torch_outputs(linear(ROWS, seed=1), data.train.x)[0].detach(), torch.from_numpy(numbers)
    check(trainer, model, data, lambda z: ((z - n) * (z - theirs)).mean())


def test_an_output_may_be_the_loss(trainer: LocalTrainer) -> None:
    lines = [
        "a = MatMul (x, w)",
        "y = Identity (a)",
        "s = Mul (a, a)",
        "cost = ReduceMean <axes = [1], keepdims = 0> (s)",
    ]
    w = RNG.standard_normal((8, 6)).astype(np.float32)
    signature = "m (float[N, 8] x) => (float[N, 6] y, float[N] cost)"
    model = from_proto(text_model(signature, lines, {"w": w}))
    data = with_goal(dataset(), model, "cost=itself", None)
    loss = make_loss(model, data)
    engine = make_engine(trainer.name, training_graph(model, loss, trainer=trainer.name), loss)
    x = data.train.x
    found = engine.step({"x": x}, loss.arrays(data.train.y))
    assert found == pytest.approx(((x @ w) ** 2).mean(), rel=1e-5)
    np.testing.assert_allclose(engine.gradients["w"], 2 * x.T @ (x @ w) / (COUNT * 6), atol=1e-5)
    result = evaluate(model, data, "test")
    assert (result.metric, result.accuracy) == ("negative loss", -result.loss)


def test_parts_of_a_batch_add_up_for_every_kind_of_loss(trainer: LocalTrainer, tmp_path: Path) -> None:
    lines = ["d = Sub (y, target)", "s = Mul (d, d)", "loss = ReduceMean <keepdims = 0> (s)"]
    path = own_file(tmp_path, lines, "float[N, 4, 5] y, float[N, 4, 5] target")
    model = linear(ROWS)
    numbers, tokens = RNG.standard_normal((COUNT, *ROWS)).astype(np.float32), RNG.integers(-1, CLASSES, (COUNT, 4))
    for data in (
        with_goal(dataset(numbers, task="regression"), model, path, None),
        dataset(tokens),
        with_goal(dataset(), model, None, Teacher(linear(ROWS, seed=2), "t")),
    ):
        base = TrainSettings(Schedule(1e-2, 20), batch_size=COUNT)
        whole, parts = (
            trainer.train(model, data, s, state=State(), steps=4, evaluate_every=1)
            for s in (base, replace(base, micro_batch=5))
        )
        assert [p.train_loss for p in parts.history] == pytest.approx([p.train_loss for p in whole.history], rel=1e-4)


# --- what is refused ------------------------------------------------------------------------------------------------------


def test_specifications_are_read() -> None:
    assert parse("squares") == (Wanted("squares"),)
    assert parse("boxes=2*huber(delta=0.5), classes=focal") == (
        Wanted("huber", "boxes", 2.0, {"delta": 0.5}),
        Wanted("focal", "classes"),
    )
    assert parse("a/b:0=1e-3*my.module:loss") == (Wanted("my.module:loss", "a/b:0", 1e-3),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("square", "no loss 'square'.*did you mean squares"),
        ("huber(gamma=2)", "no parameter 'gamma'; it has delta"),
        ("huber(delta=0)", "delta of the loss huber is 0; it must be a number above 0"),
        ("huber(delta)", "'delta'.*write parameter=number"),
        ("squares(", r"cannot be read at 'squares\('"),
        ("", "cannot be read"),
        ("m:f(a=1)", "takes no parameters here"),
    ],
)
def test_what_is_no_loss_is_refused(text: str, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        parse(text)


def test_a_loss_for_other_labels_is_refused() -> None:
    model = linear((CLASSES,))
    classes = dataset(RNG.integers(0, CLASSES, COUNT))
    numbers = dataset(RNG.standard_normal((COUNT, CLASSES)).astype(np.float32), task="regression")
    for data, text, expected in (
        (classes, "squares", "squares is for numbers to predict"),
        (numbers, "cross-entropy", None),  # probabilities of classes, perhaps
        (numbers, "binary", "between 0 and 1"),
        (classes, "kl", "teacher"),
        (dataset(), "squares", "no labels; give a teacher"),
        (classes, "z=squares", "no output 'z' of floats; it has y"),
    ):
        if expected is not None:
            with pytest.raises((UsageError, DataError), match=expected):
                make_loss(model, with_goal(data, model, text, None))
    with pytest.raises(DataError, match=r"5 classes at 4 places.*\(batch, 4, 5\)"):
        make_loss(model, dataset(RNG.integers(0, CLASSES, (COUNT, 4))))
    with pytest.raises(DataError, match="no labels; give a teacher"):
        make_loss(model, dataset())


def test_a_loss_of_ones_own_that_fits_nothing_is_refused(tmp_path: Path) -> None:
    model, numbers = linear(ROWS), dataset(RNG.standard_normal((COUNT, *ROWS)).astype(np.float32), task="regression")
    two = own_file(tmp_path, ["loss = ReduceSum <keepdims = 0> (y)"], "float[N, 4, 5] y, float[N] a, float[N] b")
    with pytest.raises(UsageError, match="what the input 'b' of the loss takes"):
        make_loss(model, with_goal(numbers, model, two, None))
    misfit = own_file(
        tmp_path, ["d = MatMul (y, target)", "loss = ReduceSum <keepdims = 0> (d)"], "float[N] y, float[N] target"
    )
    with pytest.raises(UsageError, match=r"does not fit|cannot be computed"):
        make_loss(model, with_goal(numbers, model, misfit, None))
    (tmp_path / "no.onnx").write_bytes(b"no model")
    with pytest.raises(UsageError, match="is no ONNX file"):
        with_goal(numbers, model, str(tmp_path / "no.onnx"), None)
    with pytest.raises(UsageError, match="no such file"):
        with_goal(numbers, model, str(tmp_path / "none.onnx"), None)


def test_a_loss_without_a_gradient_is_refused_by_its_node(trainer: LocalTrainer, tmp_path: Path) -> None:
    lines = ["d = Sub (y, target)", "e = Det (d)", "loss = ReduceSum <keepdims = 0> (e)"]
    path = own_file(tmp_path, lines, "float[N, 4, 4] y, float[N, 4, 4] target")
    model = linear((4, 4))
    data = with_goal(
        dataset(RNG.standard_normal((COUNT, 4, 4)).astype(np.float32), task="regression"), model, path, None
    )
    with pytest.raises(TrainingError, match=r"the loss cannot be trained with.*Det"):
        trainer.check(model, data)


# --- labels of several outputs --------------------------------------------------------------------------------------------


def two_headed() -> Model:
    """Numbers and classes of one stem."""
    rng = np.random.default_rng(0)
    lines = ["a = MatMul (x, w)", "b = Tanh (a)", "boxes = MatMul (b, v)", "kinds = MatMul (b, u)"]
    tensors = {name: rng.standard_normal(shape) for name, shape in (("w", (8, 6)), ("v", (6, 4)), ("u", (6, CLASSES)))}
    return from_proto(text_model("m (float[N, 8] x) => (float[N, 4] boxes, float[N, 5] kinds)", lines, tensors))


def two_labels() -> tuple[dict[str, Any], Dataset]:
    rng = np.random.default_rng(2)
    arrays: dict[str, Any] = {
        "x_train": rng.standard_normal((COUNT, 8)).astype(np.float32),
        "y_boxes_train": (rng.standard_normal((COUNT, 4)) * 40 + 7).astype(np.float32),
        "y_kinds_train": np.arange(COUNT) % CLASSES,
    }
    arrays |= {name.replace("train", part): array for name, array in arrays.items() for part in ("val", "test")}
    return arrays, datasets.load(arrays, normalize="none")


def torch_two_headed(
    model: Model, arrays: dict[str, Any], boxes: float, kinds: float
) -> tuple[float, dict[str, Array]]:
    import torch
    from torch.nn import functional as f

    w, v, u = (torch.tensor(model.tensor(n).copy(), requires_grad=True) for n in "wvu")
    h = torch.tanh(torch.from_numpy(arrays["x_train"]) @ w)
    y = torch.from_numpy(arrays["y_boxes_train"])
    deviation = y.std(0, correction=0)
    loss = boxes * f.mse_loss(h @ v / deviation, y / deviation)
    loss = loss + kinds * f.cross_entropy(h @ u, torch.from_numpy(arrays["y_kinds_train"]))
    loss.backward()
    return loss.item(), {n: p.grad.numpy() for n, p in zip("wvu", (w, v, u), strict=True)}


@pytest.mark.parametrize(
    ("text", "boxes", "kinds"),
    [(None, 1.0, 1.0), ("boxes=0.5*squares, kinds=2*cross-entropy", 0.5, 2.0), ("kinds=cross-entropy", 0.0, 1.0)],
)
def test_several_outputs_have_labels_of_their_own(
    trainer: LocalTrainer, text: str | None, boxes: float, kinds: float
) -> None:
    (arrays, data), model = two_labels(), two_headed()
    assert data.summary().endswith("boxes: 4 numbers to predict, kinds: 5 classes, 8 float32")
    goal = with_goal(data, model, text, None)
    expected, theirs = torch_two_headed(model, arrays, boxes, kinds)
    loss = make_loss(model, goal)
    engine = make_engine(trainer.name, training_graph(model, loss, trainer=trainer.name), loss)
    assert engine.step({"x": arrays["x_train"]}, loss.arrays(goal.train.y)) == pytest.approx(expected, rel=1e-5)
    for name, gradient in engine.gradients.items():
        np.testing.assert_allclose(gradient, theirs[name], atol=2e-5 * np.abs(theirs[name]).max())
    found = evaluate(model, goal, "train")
    assert found.loss == pytest.approx(expected, rel=1e-5)
    assert found.metric == "mean score"
    y = arrays["y_boxes_train"].astype(np.float64)
    h = np.tanh(arrays["x_train"] @ model.tensor("w"))
    determined = 1 - (((h @ model.tensor("v") - y) / y.std(0)) ** 2).mean()
    right = ((h @ model.tensor("u")).argmax(1) == arrays["y_kinds_train"]).mean()
    assert found.accuracy == pytest.approx((determined + right) / 2, rel=1e-4)


def test_several_outputs_are_trained_by_a_worker_and_by_a_loss_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (arrays, data), model = two_labels(), two_headed()
    body = """
import torch
def loss(boxes, kinds, target_boxes, target_kinds):
    return ((boxes - target_boxes) / 40).pow(2).mean() + torch.nn.functional.cross_entropy(kinds, target_kinds)
"""
    goal = with_goal(data, model, scripted_loss(tmp_path, monkeypatch, body, "both"), None)
    settings = TrainSettings(Schedule(3e-2, 80), batch_size=COUNT)
    for given in (data, goal):
        with WorkerTrainer() as worker:
            worker.check(model, given)
            result = worker.train(model, given, settings, state=State(), steps=80, evaluate_every=40)
        assert result.history[-1].train_loss < 0.5 * evaluate(model, given, "train").loss
    named = {"boxes": arrays["y_boxes_train"], "kinds": arrays["y_kinds_train"]}
    missing = {k: v for k, v in arrays.items() if not k.startswith("y_kinds")} | {"y_other_train": named["boxes"]}
    with pytest.raises(DataError, match=r"output .other.. has only some of x_val, y_val"):
        datasets.load(missing)
    with pytest.raises(DataError, match="call each by the output"):
        datasets.load(arrays | {"y_train": named["kinds"]})
    only = {k: v for k, v in arrays.items() if not k.startswith("y_boxes")}
    with pytest.raises(DataError, match="no labels for output 'boxes'; it has them for kinds"):
        make_loss(model, with_goal(datasets.load(only), model, "squares", None))
    with pytest.raises(UsageError, match=r"label 9|no output 'nowhere'"):
        make_loss(model, datasets.load({k.replace("kinds", "nowhere"): v for k, v in arrays.items()}))
