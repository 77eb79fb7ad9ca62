"""What exact operations add learns: it gets a gradient, and copies part."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pysurgeon.graph import Model
from pysurgeon.graph.widths import Structure
from pysurgeon.surgery import AddBypass, InsertLayer, Widen, carry, operate
from pysurgeon.surgery.apply import NEW
from pysurgeon.surgery.edit import AxisMap, Edit, Select
from pysurgeon.training import LocalTrainer, Schedule, State, TrainSettings, WorkerTrainer
from pysurgeon.training._optimizer import HALF_LIFE, Optimizer

from .zoo import cnn, exported, images, mlp

STEPS = 20


def after(model: Model, steps: int, optimizer: str) -> Model:
    rate = 1e-2 if optimizer == "adamw" else 0.05
    settings = TrainSettings(Schedule(rate, steps, decay="constant"), batch_size=32, optimizer=optimizer)  # type: ignore[arg-type]
    return LocalTrainer().train(model, images(), settings, state=State(), steps=steps, evaluate_every=steps).model


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("make", [cnn, mlp])
@pytest.mark.parametrize("how", ["fresh", "split", "pairs"])
def test_new_units_move_and_copies_part(how: Any, make: Any, optimizer: str) -> None:
    start = exported(make(), 3, 8, 8)
    width = next(w for w in Structure(start).widths if w.resizable)
    done = operate(start, Widen(width.name, 2 * width.size, how=how, seed=1))
    wider = done.model
    trained = after(wider, STEPS, optimizer)
    new = slice(width.size, None)
    for places in (width.writers, width.readers):
        tensor, axis = max(places, key=lambda p: wider.tensor(p[0]).ndim)
        before, now = (np.moveaxis(m.tensor(tensor), axis, 0)[new].astype(np.float64) for m in (wider, trained))
        moved = np.abs(now - before).reshape(len(now), -1).max(1)
        assert np.all(moved > 1e-6), (tensor, moved)
    tensor, axis = max(width.writers, key=lambda p: wider.tensor(p[0]).ndim)
    rows = [np.moveaxis(m.tensor(tensor), axis, 0).reshape(2 * width.size, -1) for m in (wider, trained)]
    alike = [(a, b) for a in range(len(rows[0])) for b in range(a) if np.array_equal(rows[0][a], rows[0][b])]
    assert bool(alike) is any(word in done.record.reason for word in ("copies", "pairs"))
    assert ("pairs" in done.record.reason) is (
        how == "pairs" and make is mlp
    )  # in the CNN, one tensor writes and reads
    for a, b in alike:
        assert np.abs(rows[1][a] - rows[1][b]).max() > 1e-6


@pytest.mark.parametrize("operation", [InsertLayer("conv1"), AddBypass("conv1"), AddBypass("conv1", "conv2")])
def test_new_layers_move(operation: Any) -> None:
    start = exported(cnn(norm=False), 3, 8, 8)
    done = operate(start, operation)
    trained = after(done.model, STEPS, "adamw")
    new = [t for t in done.model.trainable() if t not in start.tensors()]
    assert new
    for tensor in new:
        assert np.abs(trained.tensor(tensor) - done.model.tensor(tensor)).max() > 1e-6, tensor


# --- a learning rate of their own ---------------------------------------------------------------------------------------


def widened(rate: float) -> tuple[Model, State, TrainSettings]:
    """A trained MLP whose first width was doubled, and the state of the optimizer with what is new in it."""
    settings = TrainSettings(Schedule(1e-2, 100, decay="constant"), batch_size=32, new_units_rate=rate)
    trunk = LocalTrainer().train(exported(mlp(), 3, 8, 8), images(), settings, state=State(), steps=3, evaluate_every=0)
    width = next(w for w in Structure(trunk.model).widths if w.resizable)
    done = operate(trunk.model, Widen(width.name, 2 * width.size, seed=1))
    return done.model, replace(trunk.state, moments=carry(done.edit, trunk.state.moments)), settings


def test_what_starts_without_a_history_is_marked() -> None:
    model, state, _ = widened(0.5)
    structure = Structure(model)
    width = next(w for w in structure.widths if w.resizable)
    places = {*width.writers, *width.readers}
    assert state.moments[NEW].keys() == {tensor for tensor, _ in places}
    for tensor, axis in places:
        marks = np.moveaxis(state.moments[NEW][tensor], axis, 0)
        assert np.all(marks[: width.size // 2] == 0)
        assert np.all(marks[width.size // 2 :] == 1)
    # Marks follow further operations: half of what is new grows old, some of it goes, and more comes.
    older = {
        kind: {t: a * 0.5 if kind == NEW else a for t, a in named.items()} for kind, named in state.moments.items()
    }
    ends = Select.of(np.array([0, width.size - 1]))
    narrow = Edit(structure, tuple(AxisMap(t, a, width.dim, ends) for t, a in places))
    for tensor, axis in places:
        marks = np.moveaxis(carry(narrow, older)[NEW][tensor], axis, 0)
        assert np.all(marks[0] == 0)
        assert np.all(marks[1] == 0.5)
    wider = operate(model, Widen(width.name, width.size + 1))
    for tensor, axis in places:
        marks = np.moveaxis(carry(wider.edit, older)[NEW][tensor], axis, 0)
        assert np.all(marks[-1] == 1)
        assert np.all(marks[width.size - 1] == 0.5)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "nesterov"])
def test_new_units_take_their_share_of_the_step(optimizer: Any) -> None:
    model, state, settings = widened(0.25)
    moments = state.moments if optimizer == "adamw" else {NEW: state.moments[NEW]}
    one = {
        rate: LocalTrainer()
        .train(
            model,
            images(),
            replace(settings, optimizer=optimizer, new_units_rate=rate),
            state=replace(state, moments=moments),
            steps=1,
            evaluate_every=0,
        )
        .model
        for rate in (0.25, 1.0)
    }
    for name in model.trainable():
        start, part, whole = (m.tensor(name) for m in (model, one[0.25], one[1.0]))
        new = state.moments[NEW].get(name, np.zeros_like(start)) == 1
        np.testing.assert_array_equal(part[~new], whole[~new])
        np.testing.assert_allclose((part - start)[new], 0.25 * (whole - start)[new], atol=2e-7)


def test_new_units_grow_old() -> None:
    parameter, marks = {"w": np.zeros(4, np.float32)}, {NEW: {"w": np.array([0, 0, 1, 1], np.float32)}}
    gradient = {"w": np.ones(4, np.float32)}
    settings = TrainSettings(Schedule(1.0, 1), optimizer="sgd", weight_decay=0.0, clip=None, new_units_rate=0.0625)
    optimizer = Optimizer(settings, parameter, gradient, State(moments=marks))
    for _ in range(HALF_LIFE):
        optimizer.step(1.0)
    np.testing.assert_allclose(optimizer.state(0).moments[NEW]["w"], [0, 0, 0.5, 0.5], rtol=1e-4)
    for _ in range(6 * HALF_LIFE):
        optimizer.step(1.0)
    assert NEW not in optimizer.state(0).moments
    before = parameter["w"].copy()
    optimizer.step(1.0)
    assert np.unique(np.round(parameter["w"] - before, 3)).size == 1


def test_a_stop_among_new_units_changes_nothing() -> None:
    model, state, settings = widened(0.5)
    whole = LocalTrainer().train(model, images(), settings, state=state, steps=6, evaluate_every=0)
    with WorkerTrainer() as trainer:
        half = trainer.train(model, images(), settings, state=state, steps=2, evaluate_every=0)
        rest = trainer.train(half.model, images(), settings, state=half.state, steps=4, evaluate_every=0)
    for name in model.trainable():
        np.testing.assert_array_equal(rest.model.tensor(name), whole.model.tensor(name))
    assert whole.state.moments[NEW].keys() == rest.state.moments[NEW].keys()
    for name, marks in whole.state.moments[NEW].items():
        np.testing.assert_array_equal(rest.state.moments[NEW][name], marks)
