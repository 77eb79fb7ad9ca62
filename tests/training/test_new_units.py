"""What exact operations add learns: it gets a gradient, and copies part."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pysurgeon.model import Model
from pysurgeon.surgery import AddBypass, InsertLayer, Narrow, Widen, carry, operate, parse
from pysurgeon.surgery.edits.apply import AGE
from pysurgeon.surgery.edits.edit import AxisMap, Edit
from pysurgeon.training import LocalTrainer, Schedule, State, TrainSettings, WorkerTrainer
from pysurgeon.training.optimizer import Optimizer
from pysurgeon.widths.axis_layout import Dense, Select
from pysurgeon.widths.structure import Structure

from .zoo import cnn, exported, images, mlp

STEPS = 20


def after(model: Model, steps: int, optimizer: str) -> Model:
    rate = 1e-2 if optimizer == "adamw" else 0.05
    settings = TrainSettings(Schedule(rate, steps, decay="constant"), batch_size=32, optimizer=optimizer)  # type: ignore[arg-type]
    return LocalTrainer().train(model, images(), settings, state=State(), steps=steps, evaluate_every=steps).model


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("make", [cnn, mlp])
@pytest.mark.parametrize("how", ["fresh", "split"])
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
    assert bool(alike) is ("copies" in done.record.reason)
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


# --- ages: every element is warmed up, and its moments corrected, from when it came ----------------------------------------


def settings_of(optimizer: Any = "adamw", warmup: int = 0) -> TrainSettings:
    return TrainSettings(Schedule(1e-2, 100, warmup, decay="constant"), batch_size=32, optimizer=optimizer)


def widened(settings: TrainSettings, steps: int = 3) -> tuple[Model, State]:
    """A trained MLP whose first width was doubled, and the state of the optimizer with what is new in it."""
    start = exported(mlp(), 3, 8, 8)
    trunk = LocalTrainer().train(start, images(), settings, state=State(), steps=steps, evaluate_every=0)
    width = next(w for w in Structure(trunk.model).widths if w.resizable)
    done = operate(trunk.model, Widen(width.name, 2 * width.size, seed=1))
    return done.model, replace(trunk.state, moments=carry(done.edit, trunk.state.moments))


def test_ages_follow_operations() -> None:
    model, state = widened(settings_of())
    structure = Structure(model)
    width = next(w for w in structure.widths if w.resizable)
    places = {*width.writers, *width.readers}
    for name in model.trainable():
        assert (state.moments[AGE][name].ndim > 0) is (name in {tensor for tensor, _ in places})
    for tensor, axis in places:
        ages = np.moveaxis(state.moments[AGE][tensor], axis, 0)
        assert np.all(ages[: width.size // 2] == 3)
        assert np.all(ages[width.size // 2 :] == 0)
    ends = Select.of(np.array([0, width.size - 1]))
    narrow = Edit(structure, tuple(AxisMap(t, a, width.dim, ends) for t, a in places))
    wider = operate(model, Widen(width.name, width.size + 1)).edit
    mixed = Edit(
        structure, tuple(AxisMap(t, a, width.dim, Dense(np.ones((1, width.size), np.float32))) for t, a in places)
    )
    for tensor, axis in places:
        some, more, one = (np.moveaxis(carry(e, state.moments)[AGE][tensor], axis, 0) for e in (narrow, wider, mixed))
        assert np.all(some[0] == 3)
        assert np.all(some[1] == 0)
        assert np.all(more[-1] == 0)
        np.testing.assert_array_equal(more[: width.size], np.moveaxis(state.moments[AGE][tensor], axis, 0))
        assert np.all(one == 2)  # the mean of threes and zeros, rounded to even


def test_what_is_old_everywhere_stays_a_scalar() -> None:
    start = exported(mlp(), 3, 8, 8)
    trunk = LocalTrainer().train(start, images(), settings_of(), state=State(), steps=3, evaluate_every=0)
    assert {a.shape for a in trunk.state.moments[AGE].values()} == {()}
    width = next(w for w in Structure(start).widths if w.resizable)
    narrowed = operate(trunk.model, Narrow(width.name, width.size // 2))
    assert {a.shape for a in carry(narrowed.edit, trunk.state.moments)[AGE].values()} == {()}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "nesterov"])
@pytest.mark.parametrize("warmup", [0, 10])
def test_new_elements_take_the_steps_of_a_new_network(optimizer: Any, warmup: int) -> None:
    settings = settings_of(optimizer, warmup)
    trunk = 500
    old, new = np.arange(6), np.arange(6, 10)
    rng = np.random.default_rng(0)
    kinds = ("m", "v") if optimizer == "adamw" else ("momentum",)
    moments = {kind: {"w": np.abs(rng.standard_normal(10)).astype(np.float32)} for kind in kinds}
    for named in moments.values():
        named["w"][new] = 0
    age = np.full(10, trunk, np.float32)
    age[new] = 0
    begin = rng.standard_normal(10).astype(np.float32)
    states = {
        "mixed": State(trunk, moments | {AGE: {"w": age}}),
        "old": State(trunk, moments | {AGE: {"w": np.array(float(trunk))}}),
        "born": State(),
    }
    made = {}
    for name, state in states.items():
        parameter, gradient = {"w": begin.copy()}, {"w": np.zeros(10, np.float32)}
        optimize = Optimizer(replace(settings, clip=None), parameter, gradient, state)
        draw = np.random.default_rng(1)
        for k in range(20):
            gradient["w"][...] = draw.standard_normal(10)
            optimize.step((0 if name == "born" else trunk) + k)
        made[name] = parameter["w"]
    np.testing.assert_array_equal(made["mixed"][old], made["old"][old])
    np.testing.assert_array_equal(made["mixed"][new], made["born"][new])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_new_layer_is_warmed_up_too(optimizer: Any) -> None:
    settings = settings_of(optimizer, warmup=1000)
    start = exported(cnn(norm=False), 3, 8, 8)
    old = State(2000, {AGE: {name: np.array(2000.0, np.float32) for name in start.trainable()}})
    done = operate(start, InsertLayer("conv1"))
    state = replace(old, moments=carry(done.edit, old.moments))
    trained = LocalTrainer().train(done.model, images(), settings, state=state, steps=1, evaluate_every=0).model
    moved = {name: np.abs(trained.tensor(name) - done.model.tensor(name)).max() for name in trained.trainable()}
    new = [name for name in moved if name not in start.tensors()]
    largest = max(moved[name] for name in moved if name not in new)
    assert new
    assert all(0 < moved[name] < largest / 50 for name in new)


def test_what_was_removed_leaves_nothing_behind() -> None:
    """A bypass that has grown goes, and another one comes under its name: it is new, and nothing of the first one is in the way."""
    settings = settings_of(warmup=4)
    model, state = exported(cnn(norm=False), 3, 8, 8), State()
    n = Structure(model).width("conv1").size
    again = ("remove:conv2.bypass", "bypass:conv1..conv2", f"widen:conv1={n + 5}")
    for operations in ((), ("bypass:conv1..conv2",), (f"widen:conv1={n + 3}",), again):
        trained = LocalTrainer().train(model, images(), settings, state=state, steps=2, evaluate_every=0)
        model, state = trained.model, trained.state
        for operation in operations:
            done = operate(model, parse(operation))
            model, state = done.model, replace(state, moments=carry(done.edit, state.moments))
    (name,) = (t for t in model.trainable() if t.endswith("bypass.weight"))
    assert all(name not in arrays for arrays in state.moments.values())
    assert LocalTrainer().train(model, images(), settings, state=state, steps=1, evaluate_every=0).steps == 1


@pytest.mark.parametrize("optimizer", ["adamw", "nesterov"])
def test_a_stop_among_new_units_changes_nothing(optimizer: Any) -> None:
    settings = settings_of(optimizer, warmup=5)
    model, state = widened(settings)
    whole = LocalTrainer().train(model, images(), settings, state=state, steps=6, evaluate_every=0)
    with WorkerTrainer() as trainer:
        half = trainer.train(model, images(), settings, state=state, steps=2, evaluate_every=0)
        rest = trainer.train(half.model, images(), settings, state=half.state, steps=4, evaluate_every=0)
    for name in model.trainable():
        np.testing.assert_array_equal(rest.model.tensor(name), whole.model.tensor(name))
    for name, age in whole.state.moments[AGE].items():
        np.testing.assert_array_equal(rest.state.moments[AGE][name], age)
    assert max(age.ndim for age in whole.state.moments[AGE].values()) > 0


@given(st.integers(0, 60), st.integers(0, 40), st.sampled_from(["cosine", "constant"]))
def test_what_was_there_from_the_start_follows_the_schedule(step: int, warmup: int, decay: Any) -> None:
    schedule = Schedule(0.5, 60, warmup, decay)
    assert schedule.at(step) == schedule.at(step, step)
    assert schedule.at(step, 0) <= schedule.at(step) <= 0.5
    if step < warmup:
        assert schedule.at(step) == pytest.approx(0.5 * (step + 1) / warmup)
    assert schedule.at(step, warmup) == schedule.at(step, 10**6)
