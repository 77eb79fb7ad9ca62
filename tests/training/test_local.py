"""Training in this process: against a loop in torch, and what the protocol promises."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from engines import needs_ort

from pysurgeon.data import Batches
from pysurgeon.errors import DataError, TrainingError
from pysurgeon.model import Model
from pysurgeon.training import LocalTrainer, Outcome, Schedule, State, TrainResult, TrainSettings, evaluate
from pysurgeon.training.derived_graph.derive import training_graph

from .zoo import cnn, engine_of, exported, gradients, images, mlp, network, quiet

SETTINGS = TrainSettings(Schedule(5e-3, 60, warmup_steps=5), batch_size=32, seed=3)


def run(
    trainer: LocalTrainer,
    model: Model,
    settings: TrainSettings = SETTINGS,
    *,
    steps: int,
    state: State | None = None,
    every: int = 20,
) -> TrainResult:
    return trainer.train(
        model, images(), settings, state=State() if state is None else state, steps=steps, evaluate_every=every
    )


def torch_loop(module: Any, settings: TrainSettings, steps: int) -> Any:
    """The same training by torch, on the same batches."""
    import torch

    batches = Batches(images(), settings.batch_size, seed=settings.seed)
    parameters = list(module.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer: Any = (
        torch.optim.AdamW(groups, eps=1e-8)
        if settings.optimizer == "adamw"
        else torch.optim.SGD(groups, lr=1.0, momentum=0.9)
    )
    module.train()
    for step in range(steps):
        x, y = batches.batch(step)
        for group in optimizer.param_groups:
            group["lr"] = settings.schedule.at(step)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(torch.from_numpy(x)), torch.from_numpy(y)).backward()
        if settings.clip is not None:
            torch.nn.utils.clip_grad_norm_(parameters, settings.clip)
        optimizer.step()
    return module


@pytest.mark.parametrize("norm", [False, True])
def test_gradients_are_those_of_torch(trainer: LocalTrainer, norm: bool) -> None:
    import torch

    module, model = cnn(norm=norm), network("cnn", norm=norm, dynamo=True)
    x, y = Batches(images(), 32, seed=0).batch(0)
    view = training_graph(model, trainer=trainer.name)
    engine = engine_of(view, trainer=trainer.name)
    loss = gradients(engine, view, x, y)
    module.train()
    expected = torch.nn.functional.cross_entropy(module(torch.from_numpy(x)), torch.from_numpy(y))
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    for name, parameter in module.named_parameters():
        np.testing.assert_allclose(engine.gradients[name], parameter.grad.numpy(), atol=1e-5)


def test_gradients_do_not_add_up_over_steps(trainer: LocalTrainer) -> None:
    view = training_graph(network("mlp"), trainer=trainer.name)
    engine = engine_of(view, trainer=trainer.name)
    x, y = Batches(images(), 32, seed=0).batch(0)
    gradients(engine, view, x, y)
    first = {name: gradient.copy() for name, gradient in engine.gradients.items()}
    gradients(engine, view, x, y)
    for name, gradient in engine.gradients.items():
        np.testing.assert_array_equal(gradient, first[name])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("make", [mlp, lambda: cnn(norm=False)], ids=["mlp", "cnn"])
def test_training_follows_torch(trainer: LocalTrainer, make: Any, optimizer: Any) -> None:
    settings = replace(SETTINGS, optimizer=optimizer, weight_decay=0.1, clip=0.5)
    module = make()
    model = network("mlp" if make is mlp else "cnn", norm=False, dynamo=True)
    learnt = run(trainer, model, settings, steps=6).model
    torch_loop(module, settings, 6)
    for name, parameter in module.named_parameters():
        assert not np.array_equal(model.tensor(name), learnt.tensor(name))
        np.testing.assert_allclose(learnt.tensor(name), parameter.detach().numpy(), atol=1e-4)


def test_batch_normalization_follows_torch_up_to_the_variance_s_convention(trainer: LocalTrainer) -> None:
    module, model = cnn(), network("cnn", dynamo=True)
    # Not AdamW: it would blow up the rounding of gradients that are zero, those of the biases before the normalization.
    settings = replace(SETTINGS, optimizer="sgd")
    result = run(trainer, model, settings, steps=5)
    torch_loop(module, settings, 5)
    for name, tensor in module.state_dict().items():
        if name in model.statistics() or name in model.trainable():
            np.testing.assert_allclose(result.model.tensor(name), tensor.numpy(), atol=2e-3)
    assert not np.array_equal(result.model.tensor("bn1.running_mean"), model.tensor("bn1.running_mean"))


@pytest.mark.parametrize("dynamo", [False, True])
def test_it_learns_and_touches_nothing_but_values(trainer: LocalTrainer, dynamo: bool) -> None:
    model = network("cnn", dynamo=dynamo)
    before = model.to_bytes()
    result = run(trainer, model, steps=60)
    assert result.outcome is Outcome.DONE
    assert (result.steps, result.state.step, {int(a) for a in result.state.moments["age"].values()}) == (60, 60, {60})
    assert [p.step for p in result.history] == [20, 40, 60]
    losses = [p.train_loss for p in result.history]
    assert losses[0] > losses[1] > losses[2]
    assert result.history[-1].validation_accuracy > 0.8
    assert model.to_bytes() == before
    assert [(n.name, n.op_type) for n in result.model.nodes] == [(n.name, n.op_type) for n in model.nodes]
    assert set(result.model.tensors()) == set(model.tensors())
    untouched = set(model.tensors()) - set(model.trainable()) - set(model.statistics())
    for name in untouched:
        np.testing.assert_array_equal(result.model.tensor(name), model.tensor(name))


def test_what_is_reported_is_what_the_returned_model_does(trainer: LocalTrainer) -> None:
    result = run(trainer, network("cnn", dynamo=True), steps=15)
    figures = evaluate(result.model, images(), "validation")
    assert (result.history[-1].validation_loss, result.history[-1].validation_accuracy) == (
        figures.loss,
        figures.accuracy,
    )


@pytest.mark.parametrize("augment", ["none", "flip-crop"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_two_stretches_give_the_bits_of_one(trainer: LocalTrainer, optimizer: Any, augment: Any) -> None:
    settings = replace(SETTINGS, optimizer=optimizer, augment=augment)
    model = network("cnn", dynamo=True)
    whole = run(trainer, model, settings, steps=17)
    half = run(trainer, model, settings, steps=7, every=3)
    rest = run(trainer, half.model, settings, steps=10, state=half.state)
    assert rest.state.step == 17
    for name in model.tensors():
        np.testing.assert_array_equal(rest.model.tensor(name), whole.model.tensor(name))
    assert rest.state.moments.keys() == whole.state.moments.keys()
    for moment, arrays in whole.state.moments.items():
        assert arrays.keys() == set(model.trainable())
        for name, array in arrays.items():
            np.testing.assert_array_equal(rest.state.moments[moment][name], array)


def test_the_state_that_is_given_is_not_changed(trainer: LocalTrainer) -> None:
    model = network("mlp")
    first = run(trainer, model, steps=3)
    kept = {name: array.copy() for name, array in first.state.moments["m"].items()}
    run(trainer, first.model, steps=3, state=first.state)
    for name, array in kept.items():
        np.testing.assert_array_equal(first.state.moments["m"][name], array)


def test_a_moment_that_is_missing_starts_at_zero_and_one_of_another_shape_is_refused(trainer: LocalTrainer) -> None:
    model = network("mlp")
    state = run(trainer, model, steps=3).state
    name = model.trainable()[0]
    partly = {k: {n: a for n, a in arrays.items() if n != name} for k, arrays in state.moments.items()}
    assert run(trainer, model, steps=2, state=replace(state, moments=partly)).outcome is Outcome.DONE
    wrong = {k: {**arrays, name: np.zeros(3, np.float32)} for k, arrays in state.moments.items()}
    with pytest.raises(TrainingError, match="must resize its moments"):
        run(trainer, model, steps=2, state=replace(state, moments=wrong))


def test_a_model_that_ends_in_softmax_trains_on_its_logits_and_keeps_it(trainer: LocalTrainer) -> None:
    with_softmax, without = exported(mlp(softmax=True), 3, 8, 8), network("mlp")
    a, b = run(trainer, with_softmax, steps=10), run(trainer, without, steps=10)
    assert [n.op_type for n in a.model.nodes][-1] == "Softmax"
    for name in without.trainable():
        np.testing.assert_array_equal(a.model.tensor(name), b.model.tensor(name))
    assert a.history[-1].validation_loss == pytest.approx(b.history[-1].validation_loss)


@pytest.mark.parametrize("layout", ["dynamo", "script"])
def test_a_model_with_a_fixed_batch_size_trains(trainer: LocalTrainer, layout: str) -> None:
    model = exported(cnn(), 3, 8, 8, dynamo=layout == "dynamo", dynamic=False, batch=1)
    result = run(trainer, model, steps=40)
    assert result.history[-1].validation_accuracy > 0.6
    assert result.model.inputs[0].shape == (1, 3, 8, 8)


@pytest.mark.parametrize("settings", [replace(SETTINGS, schedule=Schedule(1e30, 60), optimizer="sgd", clip=None)])
def test_divergence_is_a_result_with_the_parameters_from_before(trainer: LocalTrainer, settings: TrainSettings) -> None:
    model = network("mlp")
    start = State(step=4)
    result = run(trainer, model, settings, steps=20, state=start)
    assert result.outcome is Outcome.DIVERGED
    assert "at step" in result.message
    assert result.model is model
    assert result.state is start


def test_divergence_in_the_last_step_is_seen_too(trainer: LocalTrainer) -> None:
    model = network("mlp")
    result = run(trainer, model, replace(SETTINGS, schedule=Schedule(1e38, 60), clip=None), steps=1)
    assert result.outcome is Outcome.DIVERGED
    assert result.model is model


def test_the_deadline_stops_with_what_was_learnt_so_far(trainer: LocalTrainer) -> None:
    model = network("mlp")
    result = trainer.train(
        model, images(), SETTINGS, state=State(), steps=10**6, evaluate_every=10**6, deadline=time.monotonic() + 0.5
    )
    assert result.outcome is Outcome.STOPPED
    assert 0 < result.steps < 10**6
    assert result.state.step == result.steps
    assert not np.array_equal(result.model.tensor("1.weight"), model.tensor("1.weight"))
    assert len(result.history) == 1


def test_no_steps_are_no_change(trainer: LocalTrainer) -> None:
    model = network("mlp")
    result = run(trainer, model, steps=0)
    assert (result.outcome, result.steps) == (Outcome.DONE, 0)
    for name in model.tensors():
        np.testing.assert_array_equal(result.model.tensor(name), model.tensor(name))


def test_check_accepts_and_refuses(trainer: LocalTrainer) -> None:
    trainer.check(network("cnn"), images())
    with pytest.raises(DataError, match="takes"):
        trainer.check(network("cnn"), images((2, 8, 8)))


@needs_ort
def test_check_refuses_an_operator_without_gradient() -> None:
    from torch import nn

    with quiet():
        model = exported(nn.Sequential(mlp(), nn.Hardtanh(), Atan()), 3, 8, 8)
    with pytest.raises(TrainingError, match="Atan"):
        LocalTrainer().check(model, images())


def test_two_threads_give_the_bits_of_one_after_the_other(trainer: LocalTrainer) -> None:
    models = [network("cnn", dynamo=True), network("mlp")]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda model: run(trainer, model, steps=20), models))
    for model, result in zip(models, together, strict=True):
        alone = run(trainer, model, steps=20)
        for name in model.tensors():
            np.testing.assert_array_equal(alone.model.tensor(name), result.model.tensor(name))


def test_the_engine_is_silent(trainer: LocalTrainer, capfd: pytest.CaptureFixture[str]) -> None:
    run(trainer, network("cnn"), steps=3)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def Atan() -> Any:  # noqa: N802  (stands for a module class; torch is imported in tests only when needed)
    import torch

    class Layer(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.atan(x)

    return Layer()
