"""What exact operations add learns: it gets a gradient, and copies part."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pysurgeon.graph import Model
from pysurgeon.graph.widths import Structure
from pysurgeon.surgery import AddBypass, InsertLayer, Widen, operate
from pysurgeon.training import OrtTrainer, Schedule, State, TrainSettings

from .zoo import cnn, exported, images, mlp

STEPS = 20


def after(model: Model, steps: int, optimizer: str) -> Model:
    rate = 1e-2 if optimizer == "adamw" else 0.05
    settings = TrainSettings(Schedule(rate, steps, decay="constant"), batch_size=32, optimizer=optimizer)  # type: ignore[arg-type]
    return OrtTrainer().train(model, images(), settings, state=State(), steps=steps, evaluate_every=steps).model


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


@pytest.mark.parametrize("operation", [InsertLayer("conv1"), AddBypass("conv1"), AddBypass("conv2"), AddBypass("fc")])
def test_new_layers_move(operation: Any) -> None:
    start = exported(cnn(norm=False), 3, 8, 8)
    done = operate(start, operation)
    trained = after(done.model, STEPS, "adamw")
    new = [t for t in done.model.trainable() if t not in start.tensors()]
    assert new
    for tensor in new:
        assert np.abs(trained.tensor(tensor) - done.model.tensor(tensor)).max() > 1e-6, tensor
