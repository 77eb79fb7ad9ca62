"""What a run's result is compared with: networks born at a size, and the sweep over sizes that a user would run by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pysurgeon.data import Dataset
from pysurgeon.errors import Refused
from pysurgeon.graph import Array
from pysurgeon.model import Model
from pysurgeon.model.costs import costs
from pysurgeon.surgery import Calibration, Widen, apply_edit
from pysurgeon.surgery.edits.edit import Edit
from pysurgeon.surgery.layers.weight_matrices import weight_matrix
from pysurgeon.training import State, Trainer, TrainResult, TrainSettings
from pysurgeon.widths.structure import Structure

FACTORS = (1, 2, 4, 8)
# Shares of the whole training after which the better half of a sweep goes on.
RUNGS = (0.25, 0.5, 1.0)


def born(model: Model, start: Model, seed: int) -> Model:
    """The topology of a model with the weights of a network before any training.

    A tensor that the start has, too, is drawn from the values that it has there, scaled for the new fan-in; where those are all the same, so
    are the new ones. The weights of other layers are normal with variance 2 / fan-in (He et al. 2015), all else that is new is zero.

    Args:
        model: The topology.
        start: Before any training.
        seed: For the drawing.
    """
    rng = np.random.default_rng([seed, 41])
    fans, before = _fans(model), _fans(start)
    values: dict[str, Array] = {}
    there = set(start.tensors())
    for name in model.trainable():
        now = model.tensor(name)
        if name in there:
            old = start.tensor(name)
            scale = np.sqrt(before.get(name, 1) / fans.get(name, 1))
            same = old.size < 2 or float(old.std()) == 0.0
            drawn = np.full(now.shape, old.flat[0]) if same else rng.choice(old.ravel(), now.shape) * scale
        else:
            drawn = rng.standard_normal(now.shape) * np.sqrt(2 / fans[name]) if name in fans else np.zeros(now.shape)
        values[name] = np.asarray(drawn, now.dtype)
    return apply_edit(Edit(Structure(model), values=values))


def _fans(model: Model) -> dict[str, int]:
    """Inputs of every unit, by the weight of its layer."""
    structure, found = Structure(model), {}
    for layer in structure.layers:
        with contextlib.suppress(Refused):  # it has no matrix to speak of
            found[layer.weight] = max(1, weight_matrix(structure, layer).shape[1])
    return found


def scaled(start: Model, factor: int, calibration: Calibration, seed: int) -> Model:
    """The start as its author would have made it with all widths a whole factor larger."""
    model = start
    if factor > 1:
        for width in Structure(start).widths:
            if width.resizable and (width.exact or width.averaged):
                operation = Widen(width.name, factor * width.size)
                model = apply_edit(operation.outline(Structure(model), calibration))
    return born(model, start, seed)


@dataclass(frozen=True)
class Swept:
    """The end of a sweep.

    Attributes:
        factor: Of the widths of the best.
        result: Its training.
        steps: That it took.
        compute: Of all that was trained, in multiply-accumulate operations.
    """

    factor: int
    result: TrainResult
    steps: int
    compute: int


def sweep(
    networks: dict[int, Model],
    data: Dataset,
    trainer: Trainer,
    settings: Callable[[int], TrainSettings],
    compute: int,
) -> Swept:
    """Train networks of several sizes by successive halving, for as much compute as something else took.

    All have the schedule of the one that is trained to the end. How long that is follows from what the largest ones would take: no more compute
    is spent, and less where smaller ones win.

    Args:
        networks: By the factor of their widths.
        data: Selection sees the validation part.
        trainer: The engine.
        settings: For a number of steps.
        compute: Multiply-accumulate operations that may be spent.
    """
    batch = settings(1).batch_size
    largest = sorted((costs(m).macs for m in networks.values()), reverse=True)
    counts = [max(1, len(networks) >> k) for k in range(len(RUNGS))]
    shares = np.diff((0.0, *RUNGS))
    total = max(1, int(compute / (3 * batch * sum(s * sum(largest[:n]) for s, n in zip(shares, counts, strict=True)))))
    how, spent = settings(total), 0
    racing: dict[int, TrainResult] = {}
    going = {factor: (model, State()) for factor, model in networks.items()}
    for share, count in zip(RUNGS, (*counts[1:], 1), strict=True):
        for factor, (model, state) in going.items():
            steps = max(1, round(total * share)) - state.step
            racing[factor] = trainer.train(model, data, how, state=state, steps=steps, evaluate_every=max(1, steps))
            spent += 3 * batch * steps * costs(model).macs
        best = sorted(going, key=lambda f: _accuracy(racing[f]), reverse=True)[:count]
        going = {f: (racing[f].model, racing[f].state) for f in best}
    return Swept(best[0], racing[best[0]], total, spent)


def _accuracy(result: TrainResult) -> float:
    return result.history[-1].validation_accuracy if result.history else -1.0
