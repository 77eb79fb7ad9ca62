"""The engine on torch: against onnxruntime-training on everything that both train, and against differences where only torch does."""

from __future__ import annotations

import importlib.machinery
import importlib.util
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import random_networks
from engines import needs_ort
from hypothesis import HealthCheck, given, settings

from pysurgeon.data import Batches
from pysurgeon.errors import TrainingError
from pysurgeon.graph import Array
from pysurgeon.model import Model
from pysurgeon.runtime import can_differentiate
from pysurgeon.surgery.edits.apply import AGE
from pysurgeon.training import (
    LocalTrainer,
    Outcome,
    Schedule,
    State,
    TrainSettings,
    WorkerTrainer,
    ensure_device,
    training_graph,
    training_report,
)
from pysurgeon.training.derived_graph.rewrites import REWRITES
from pysurgeon.training.engines.engine import make_engine
from pysurgeon.training.engines.ort_gradients import WITH_GRADIENT
from pysurgeon.training.engines.torch.registry import OPERATORS
from pysurgeon.training.losses.loss import Loss
from pysurgeon.training.losses.making import plain_loss
from pysurgeon.training.losses.targets import AsTheyAre
from pysurgeon.training.optimizer import Optimizer

from .test_operators import (
    AS_IT_STANDS,
    CROSS_ENTROPY,
    IMAGE,
    LABELS,
    POSITIVE,
    REWRITTEN,
    TABLE,
    Case,
    floats,
    inputs,
    ints,
    measured_gradient,
    node,
)
from .zoo import attention, cnn, cross_entropy, exported, images, mlp, network

SETTINGS = TrainSettings(Schedule(5e-3, 60, warmup_steps=5), batch_size=32, seed=3)


def both(model: Model, x: Array, targets: dict[str, Array], loss: Loss, **options: Any) -> list[dict[str, Array]]:
    """Gradients and statistics by each engine, and the loss under an empty name."""
    found = []
    for name in ("ort", "torch"):
        view = training_graph(model, trainer=name, **options)
        engine = make_engine(name, view, loss)
        value = engine.step({model.inputs[0].name: x}, targets)
        tensors = engine.tensors()
        found.append({"": np.array(value), **engine.gradients, **{n: tensors[n] for n in view.statistics}})
    return found


def assert_equal(ours: dict[str, Array], theirs: dict[str, Array], tolerance: float) -> None:
    """Relative to the largest number of all: the gradients of some parameters are nothing but rounding errors."""
    assert ours.keys() == theirs.keys()
    largest = max(np.abs(array).max() for array in theirs.values())
    for name, array in theirs.items():
        np.testing.assert_allclose(ours[name], array, atol=tolerance * largest, rtol=0, err_msg=name)


# --- operators ----------------------------------------------------------------------------------------------------------


@needs_ort
@pytest.mark.parametrize("case", (AS_IT_STANDS | REWRITTEN).values(), ids=(AS_IT_STANDS | REWRITTEN).keys())
def test_what_onnxruntime_trains_has_the_same_gradient(case: Case) -> None:
    model = case.model()
    found = both(model, inputs(case), CROSS_ENTROPY.arrays(LABELS), CROSS_ENTROPY)
    assert_equal(*found, tolerance=1e-5)


OWN = {
    **{op: Case((node("Tanh", out="t"), node(op, "t"))) for op in "Acos Asin Atan Atanh Cosh Sinh Tan".split()},
    "Acosh": Case((POSITIVE, node("Add", "p", "c", out="q"), node("Acosh", "q")), {"c": np.float32(1.5).reshape(())}),
    "Asinh": Case((node("Asinh"),)),
    "Shrink": Case((node("Shrink", lambd=0.34, bias=0.34),)),
    "ReduceProd": Case((POSITIVE, node("ReduceProd", "p", axes=[1, 2]))),
    "LpNormalization": Case((node("LpNormalization", axis=1, p=1),)),
    "Resize cubic": Case(
        (node("Resize", "h", "", "s", mode="cubic"),), {"s": np.array([1, 1, 2, 1.5], np.float32)}, IMAGE
    ),
    "Resize cubic to a size": Case(
        (node("Resize", "h", "", "", "s", mode="cubic", coordinate_transformation_mode="align_corners"),),
        {"s": ints(2, 4, 9, 5)},
        IMAGE,
    ),
    "GridSample": Case((node("GridSample", "h", "g", align_corners=1),), {"g": floats(2, 3, 3, 2)}, IMAGE),
    "ScatterND that adds": Case(
        (node("ScatterND", "h", "a", "u", reduction="add"),), {"a": ints(0).reshape(1, 1), "u": floats(1, 4, 6)}
    ),
    "ScatterElements that multiplies": Case(
        (node("ScatterElements", "h", "a", "u", axis=2, reduction="mul"),),
        {"a": np.zeros((1, 4, 1), np.int64), "u": floats(1, 4, 1)},
        opset=18,
    ),
    "GatherND in batches": Case((node("GatherND", "h", "a", batch_dims=1),), {"a": np.array([[0], [1]])}),
    "Pad wrap": Case((node("Pad", "h", "p", mode="wrap"),), {"p": ints(0, 1, 2, 0, 0, 1)}, opset=19),
    "Size and ArgMax": Case(
        (
            node("ArgMax", out="i", axis=2, keepdims=1),
            node("GatherElements", "h", "i", out="m", axis=2),
            node("Size", "h", out="n"),
            node("Cast", "n", out="f", to=1),
            node("Div", "m", "f"),
        )
    ),
    "OneHot": Case(
        (
            node("ArgMin", out="i", axis=2, keepdims=0),
            node("OneHot", "i", "n", "v", out="b"),
            node("Mul", "h", "b"),
        ),
        {"n": np.array(6), "v": np.array([0.5, 2.0], np.float32)},
    ),
}


@pytest.mark.parametrize("case", OWN.values(), ids=OWN.keys())
def test_what_only_torch_trains_has_a_right_gradient(case: Case) -> None:
    model, x = case.model(), inputs(case)
    assert "no gradient" not in {f.status for f in training_report(model, trainer="torch")}
    view = training_graph(model, trainer="torch")
    engine = make_engine("torch", view, CROSS_ENTROPY)
    engine.step({"x": x}, CROSS_ENTROPY.arrays(LABELS))
    expected = measured_gradient(model, x, case.shape)
    assert np.abs(engine.gradients["w"] - expected).max() <= 3e-3 * np.abs(expected).max()


def test_torch_has_a_function_for_whatever_views_are_made_of() -> None:
    made_up = {"BatchNormalization", "LayerNormalization"}
    assert OPERATORS.keys() >= WITH_GRADIENT | made_up
    assert OPERATORS.keys() >= {"Range", "Shape", "ConstantOfShape", "Constant", "Greater", "LSTM", "GRU"}
    # Losses of classes, which are rewritten for both.
    assert OPERATORS.keys() >= REWRITES.keys() - {"SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss"}


def test_an_operator_without_a_function_is_refused_by_name() -> None:
    model = Case((node("Hardmax"),)).model()
    with pytest.raises(TrainingError, match=r"node 'the_Hardmax'.*trainer torch has no function.*Hardmax"):
        training_graph(model, trainer="torch")
    # Also where no gradient passes: it has to be computed.
    aside = Case((node("Hardmax", out="r"), node("Greater", "r", "z", out="g"), node("Where", "g", "h", "z")), ZERO)
    if can_differentiate():
        training_graph(aside.model(), trainer="ort")
    with pytest.raises(TrainingError, match="Hardmax"):
        training_graph(aside.model(), trainer="torch")


def test_a_form_without_a_function_is_refused_with_the_reason() -> None:
    model = Case((node("Resize", "h", "", "s", mode="cubic", cubic_coeff_a=-0.5),), RATIO, IMAGE).model()
    (fact,) = [f for f in training_report(model, trainer="torch") if f.status == "no gradient"]
    assert fact.operator == "Resize"
    with pytest.raises(TrainingError, match="the_Resize"):
        training_graph(model, trainer="torch")


ZERO = {"z": np.float32(0.5).reshape(())}
RATIO = {"s": np.array([1, 1, 2, 2], np.float32)}


# --- networks -----------------------------------------------------------------------------------------------------------

ZOO = {
    "mlp": lambda: network("mlp"),
    "mlp that ends in a softmax": lambda: exported(mlp(softmax=True), 3, 8, 8),
    "cnn": lambda: network("cnn"),
    "cnn by the new exporter": lambda: network("cnn", dynamo=True),
    "cnn without normalization": lambda: network("cnn", norm=False),
    "cnn for one image": lambda: exported(cnn(), 3, 8, 8, dynamic=False, batch=1),
    "attention": lambda: exported(attention(), 3, 8, 8),
    "attention by the new exporter": lambda: exported(attention(), 3, 8, 8, dynamo=True),
}


@needs_ort
@pytest.mark.parametrize("statistics", ["batch", "frozen"])
@pytest.mark.parametrize("make", ZOO.values(), ids=ZOO.keys())
def test_networks_have_the_same_loss_gradients_and_statistics(make: Any, statistics: str) -> None:
    x, y = Batches(images(), 32, seed=0).batch(0)
    loss = cross_entropy()
    found = both(make(), x, loss.arrays(y), loss, freeze_statistics=statistics == "frozen")
    assert_equal(*found, tolerance=1e-5)


@needs_ort
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(random_networks.networks())
def test_random_networks_have_the_same_loss_and_gradients(model: Model) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((5, random_networks.TOKENS, 6)).astype(np.float32)
    shape = (random_networks.TOKENS, 3)
    loss = plain_loss("squares", AsTheyAre(shape, shape))
    found = both(model, x, loss.arrays(rng.standard_normal((5, *shape))), loss)
    assert_equal(*found, tolerance=1e-5)


@needs_ort
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("make", ZOO.values(), ids=ZOO.keys())
def test_training_comes_to_the_same_weights(make: Any, optimizer: Any) -> None:
    # Frozen, because AdamW blows up gradients that are nothing but rounding: those of biases before a normalization by the batch.
    options = replace(SETTINGS, optimizer=optimizer, statistics="frozen")
    model = make()
    a, b = (
        trainer.train(model, images(), options, state=State(), steps=10, evaluate_every=5)
        for trainer in (LocalTrainer("ort"), LocalTrainer("torch"))
    )
    assert [p.train_loss for p in a.history] == pytest.approx([p.train_loss for p in b.history], rel=1e-4)
    for name in model.trainable():
        np.testing.assert_allclose(a.model.tensor(name), b.model.tensor(name), atol=2e-4)


# --- processes, devices -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "nesterov"])
def test_its_optimizers_take_the_steps_of_ours(optimizer: Any, clip: float | None) -> None:
    import torch

    from pysurgeon.training.engines.torch.optimizer import TorchOptimizer

    rng = np.random.default_rng(0)
    shapes = {"w": (5, 3), "b": (5,), "k": (4, 3, 2, 2)}
    settings = replace(
        SETTINGS, optimizer=optimizer, clip=clip, weight_decay=0.1, schedule=Schedule(1e-2, 60, warmup_steps=7)
    )
    parameters = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    leaves = {name: torch.tensor(array).requires_grad_() for name, array in parameters.items()}
    ages = {"w": np.full((5, 3), 30, np.float32), "k": np.array(30, np.float32)}
    ages["w"][3:] = 0
    ages["w"][4:] = 2
    aged, gradients = State(moments={AGE: ages}), {name: np.empty_like(p) for name, p in parameters.items()}
    ours, theirs = Optimizer(settings, parameters, gradients, aged), TorchOptimizer(settings, leaves, aged)
    for step in range(20):
        for name, leaf in leaves.items():
            gradients[name][...] = rng.standard_normal(leaf.shape)
            leaf.grad = torch.tensor(gradients[name])
        assert theirs.step(step) == pytest.approx(ours.step(step), rel=1e-5)
        if step == 9:  # and go on from what was kept
            ours = Optimizer(settings, parameters, gradients, ours.state(10))
            theirs = TorchOptimizer(settings, leaves, theirs.state(10))
    for name, leaf in leaves.items():
        np.testing.assert_allclose(leaf.detach().numpy(), parameters[name], atol=2e-6, err_msg=name)
    a, b = ours.state(20), theirs.state(20)
    assert (a.step, a.moments.keys()) == (b.step, b.moments.keys())
    for kind, arrays in a.moments.items():
        for name, array in arrays.items():
            np.testing.assert_allclose(b.moments[kind][name], array, rtol=1e-5, atol=1e-6, err_msg=f"{kind} of {name}")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_its_optimizers_change_nothing_by_a_gradient_that_is_not_finite(bad: float) -> None:
    import torch

    from pysurgeon.training.engines.torch.optimizer import TorchOptimizer

    leaf = torch.ones(3).requires_grad_()
    leaf.grad = torch.tensor([0.0, bad, 1.0])
    optimizer = TorchOptimizer(SETTINGS, {"w": leaf}, State())
    assert not np.isfinite(optimizer.step(0))
    assert leaf.tolist() == [1, 1, 1]
    assert optimizer.state(0).moments[AGE]["w"] == 0


def test_a_worker_gives_the_bits_of_this_process() -> None:
    model = network("cnn", dynamo=True)
    with WorkerTrainer(trainer="torch") as worker:
        worker.check(model, images())
        theirs = worker.train(model, images(), SETTINGS, state=State(), steps=12, evaluate_every=5)
    ours = LocalTrainer("torch").train(model, images(), SETTINGS, state=State(), steps=12, evaluate_every=5)
    assert ours.outcome is theirs.outcome is Outcome.DONE
    for name in model.tensors():
        np.testing.assert_array_equal(ours.model.tensor(name), theirs.model.tensor(name))


def test_a_worker_refuses_by_name() -> None:
    model = Case((node("Hardmax"),)).model()
    with WorkerTrainer(trainer="torch") as worker, pytest.raises(TrainingError, match="Hardmax"):
        worker.check(model, images(TABLE))


def test_threads_are_those_that_were_asked_for() -> None:
    import torch

    before = torch.get_num_threads()
    try:
        for threads in (2, 1):
            LocalTrainer("torch").train(
                network("mlp"), images(), replace(SETTINGS, threads=threads), state=State(), steps=1, evaluate_every=0
            )
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_a_device_that_is_not_there_is_refused() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(TrainingError, match=r"cuda needs a build of torch.*sees none"):
        ensure_device("cuda", "torch")


def test_where_torch_is_missing_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "pysurgeon.training.engines.torch.find_spec", lambda name: None if name == "torch" else found(name)
    )
    with pytest.raises(TrainingError, match=r"pip install 'torch>=2\.4'"):
        LocalTrainer("torch").check(network("mlp"), images())


def test_without_the_training_build_the_error_says_what_to_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pysurgeon.training.engines.ort.can_differentiate", lambda: False)
    for ask in (lambda: training_report(network("mlp"), trainer="ort"), lambda: ensure_device("cpu", "ort")):
        with pytest.raises(TrainingError, match=r"Python 3.11 and older.*pip install 'torch>=2\.4'.*the trainer torch"):
            ask()
    monkeypatch.setattr("pysurgeon.training.engines.torch.can_differentiate", lambda: False)
    monkeypatch.setattr("pysurgeon.training.engines.torch.find_spec", {}.get)
    with pytest.raises(TrainingError, match=r"pip install 'torch>=2\.4'$"):
        ensure_device("cpu", "torch")


def test_what_an_onnxruntime_can_do_is_known_without_it(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "onnxruntime"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError")
    found = importlib.machinery.PathFinder.find_spec("onnxruntime", [str(tmp_path)])
    monkeypatch.setattr("pysurgeon.runtime.find_spec", {"onnxruntime": found}.get)
    assert not can_differentiate.__wrapped__()
    (package / "training").mkdir()
    assert can_differentiate.__wrapped__()
    monkeypatch.setattr("pysurgeon.runtime.find_spec", {}.get)
    assert not can_differentiate.__wrapped__()


def test_a_step_that_fails_says_where(trainer: LocalTrainer) -> None:
    view = training_graph(network("mlp"), trainer=trainer.name)
    engine = make_engine(trainer.name, view, CROSS_ENTROPY)
    with pytest.raises(TrainingError, match="cannot take a step"):
        engine.step({view.proto.graph.input[0].name: np.zeros((2, 3, 9, 9), np.float32)}, CROSS_ENTROPY.arrays(LABELS))
