"""The samples that a model is looked at with, and how steep the loss is where it stands."""

from __future__ import annotations

import math
from math import prod

import numpy as np

from pysurgeon.data import Batches, Dataset
from pysurgeon.errors import ModelError, TrainingError
from pysurgeon.graph import Array
from pysurgeon.model import Model
from pysurgeon.model.costs import counted
from pysurgeon.surgery import Calibration
from pysurgeon.training import Trainer, TrainSettings, fit_input, metric
from pysurgeon.training.losses.metrics import NEGATIVE

CALIBRATION_SAMPLES, UNSEEN_SAMPLES = 512, 128
# What layers take and give on all of them is kept, so there are fewer samples where it would take more memory than this; but so many there are.
_BYTES, _FEWEST = 3 << 30, 32


def calibrated(model: Model, data: Dataset, *, seed: int = 0) -> Calibration:
    """Training samples, without augmentation, as the model's input: most to fit to, the rest to verify on.

    There are `CALIBRATION_SAMPLES` and `UNSEEN_SAMPLES` of them, and fewer of large inputs, whose values would not fit into memory.

    Raises:
        DataError: The data does not fit the model.
    """
    fit = fit_input(model, data)
    # The input that samples are counted in, and where: others may be the same for all.
    position, axis = next(((k, i.axis) for k, i in enumerate(fit.inputs) if i.axis is not None), (0, 0))
    fixed = model.inputs[position].shape[axis]
    # Where the batch is fixed and not the first axis, several of them cannot be put one behind the other.
    wanted = affordable(model) if axis == 0 or fixed is None else fixed
    x, _ = Batches(data, wanted, seed=seed, raw=fit.raw).batch(0)
    count = len(next(iter(x.values())) if isinstance(x, dict) else x)
    spared = min(UNSEEN_SAMPLES, count // 5) // (fixed or 1) * (fixed or 1)
    seen = max(1, (count - spared) // (fixed or 1)) * (fixed or 1)

    def part(start: int, end: int) -> dict[str, Array]:
        return fit.feeds({k: a[start:end] for k, a in x.items()} if isinstance(x, dict) else x[start:end])

    unseen = part(seen, seen + spared) if spared else part(0, seen)
    return Calibration(model, part(0, seen), holdout=unseen, seed=seed, axis=axis)


def affordable(model: Model) -> int:
    """How many samples a model can be looked at with."""
    values = {
        v.name: prod(d for d in v.shape[1:] if isinstance(d, int))
        for _, node, _ in counted(model)
        for v in (*node.inputs, *node.outputs)
        if v is not None and v.shape is not None and not v.is_initializer()
    }
    fitting = _BYTES // max(1, 4 * sum(values.values()))
    return min(CALIBRATION_SAMPLES + UNSEEN_SAMPLES, max(_FEWEST, fitting))


def chance(data: Dataset) -> float:
    """Score of the best constant answer on the validation part, as far as that can be said.

    Of classes it is the share of the most frequent one, of what is scored otherwise 0, as of a coefficient of determination; of a negative loss it is
    not known, and minus infinity.
    """
    if metric(data) == NEGATIVE:
        return -math.inf
    y = data.validation.y
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer) or not len(y):
        return 0.0
    return float(np.bincount(y - y.min()).max() / len(y))


def slope(trainer: Trainer, model: Model, data: Dataset, settings: TrainSettings) -> float | None:
    """How steeply the loss falls from where a model stands (see `Trainer.slope`), `None` where the engine cannot tell."""
    try:
        found = trainer.slope(model, data, settings)
    except (TrainingError, ModelError):
        return None
    return found if math.isfinite(found) else None
