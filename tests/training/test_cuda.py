"""Training on a GPU gives what training on the processor does. Skipped where no engine sees a GPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import pysurgeon as ps
from pysurgeon.errors import TrainingError
from pysurgeon.graph import Array
from pysurgeon.model import Model
from pysurgeon.runtime import TrainerName
from pysurgeon.settings import Device
from pysurgeon.training import (
    LocalTrainer,
    Outcome,
    Schedule,
    State,
    TrainSettings,
    WorkerTrainer,
    ensure_device,
    training_graph,
)
from pysurgeon.training.engines.engine import make_engine

from .test_operators import AS_IT_STANDS, CROSS_ENTROPY, LABELS, REWRITTEN, Case, inputs
from .test_torch import ZOO, assert_equal
from .zoo import images, network

SETTINGS = TrainSettings(Schedule(2e-2, 60), batch_size=32, seed=3)
TOLERANCE = 5e-3  # a normalization by the batch makes much of rounding


def missing(name: TrainerName) -> str:
    """Why an engine cannot compute on a GPU, nothing if it can."""
    try:
        ensure_device("cuda", name)
    except TrainingError as error:
        return str(error)
    return ""


MISSING: dict[TrainerName, str] = {"ort": missing("ort"), "torch": missing("torch")}
if all(MISSING.values()):
    pytest.skip("; ".join(MISSING.values()), allow_module_level=True)


@pytest.fixture(params=[name for name, why in MISSING.items() if not why])
def engine(request: pytest.FixtureRequest) -> TrainerName:
    """An engine that can compute on a GPU."""
    name: TrainerName = request.param
    return name


def step(
    name: TrainerName, model: Model, x: Array, targets: Any, device: Device, *, times: int = 1
) -> dict[str, Array]:
    """Gradients and statistics, and the loss under an empty name."""
    view = training_graph(model, trainer=name)
    made = make_engine(name, view, CROSS_ENTROPY, device=device)
    for k in range(times):
        value = made.step({model.inputs[0].name: x}, targets, add=k > 0)
    tensors = made.tensors()
    gradients = {n: g.copy() for n, g in made.gradients.items()}
    return {"": np.array(value), **gradients, **{n: tensors[n] for n in view.statistics}}


@pytest.mark.parametrize("case", (AS_IT_STANDS | REWRITTEN).values(), ids=(AS_IT_STANDS | REWRITTEN).keys())
def test_operators_have_the_gradients_that_they_have_on_the_processor(engine: TrainerName, case: Case) -> None:
    model, x, targets = case.model(), inputs(case), CROSS_ENTROPY.arrays(LABELS)
    found = step(engine, model, x, targets, "cuda")
    assert_equal(found, step(engine, model, x, targets, "cpu"), tolerance=TOLERANCE)


@pytest.mark.parametrize("make", ZOO.values(), ids=ZOO.keys())
def test_networks_have_the_gradients_and_statistics_that_they_have_there(engine: TrainerName, make: Any) -> None:
    model, data = make(), images()
    x, targets = data.train.x[:32].astype(np.float32) / 255, CROSS_ENTROPY.arrays(data.train.y[:32])
    for times in (1, 2):
        found = step(engine, model, x, targets, "cuda", times=times)
        assert_equal(found, step(engine, model, x, targets, "cpu", times=times), tolerance=TOLERANCE)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_stretch_comes_to_nearly_the_same_losses(engine: TrainerName, optimizer: Any) -> None:
    settings = replace(SETTINGS, optimizer=optimizer)
    here, there = (
        LocalTrainer(engine).train(
            network("cnn"), images(), replace(settings, device=device), state=State(), steps=40, evaluate_every=10
        )
        for device in ("cpu", "cuda")
    )
    assert here.outcome is there.outcome is Outcome.DONE
    assert here.history[-1].train_loss < 0.9 * here.history[0].train_loss  # there is something to tell apart
    assert [p.train_loss for p in there.history] == pytest.approx([p.train_loss for p in here.history], rel=2e-2)


def test_a_worker_trains_there(engine: TrainerName) -> None:
    settings = replace(SETTINGS, device="cuda")
    with WorkerTrainer(trainer=engine) as worker:
        worker.check(network("mlp"), images())
        found = worker.train(network("mlp"), images(), settings, state=State(), steps=20, evaluate_every=5)
    assert found.outcome is Outcome.DONE, found.message
    assert found.history[-1].train_loss < found.history[0].train_loss


def test_the_surgeon_works_there(engine: TrainerName, tmp_path: Any) -> None:
    found = ps.evolve(
        network("cnn"),
        data=images(),
        run=tmp_path / "run",
        steps=40,
        generations=2,
        trainer=engine,
        device="cuda",
        seed=1,
    )
    assert found.result.test_accuracy > found.start.test_accuracy
