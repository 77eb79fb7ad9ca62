"""The samples that a model is looked at with, and what it gets wrong about them."""

from __future__ import annotations

import numpy as np

from pysurgeon.data import Batches, Dataset
from pysurgeon.graph import Array, Model
from pysurgeon.surgery import Calibration
from pysurgeon.training import fit_input
from pysurgeon.training.head import head

CALIBRATION_SAMPLES, UNSEEN_SAMPLES = 512, 128


def calibrated(model: Model, data: Dataset, *, seed: int = 0) -> Calibration:
    """Training samples, without augmentation, as the model's input: most to fit to, the rest to verify on.

    Raises:
        DataError: The data does not fit the model.
    """
    fit = fit_input(model, data)
    axis = fit.inputs[0].axis
    fixed = model.inputs[0].shape[axis]
    # Where the batch is fixed and not the first axis, several of them cannot be put one behind the other.
    wanted = CALIBRATION_SAMPLES + UNSEEN_SAMPLES if axis == 0 or fixed is None else fixed
    x, y = Batches(data, wanted, seed=seed, raw=fit.raw).batch(0)
    count = len(next(iter(x.values())) if isinstance(x, dict) else x)
    spared = min(UNSEEN_SAMPLES, count // 5) // (fixed or 1) * (fixed or 1)
    seen = max(1, (count - spared) // (fixed or 1)) * (fixed or 1)

    def part(start: int, end: int) -> dict[str, Array]:
        return fit.feeds({k: a[start:end] for k, a in x.items()} if isinstance(x, dict) else x[start:end])

    unseen = part(seen, seen + spared) if spared else part(0, seen)
    return Calibration(model, part(0, seen), unseen=unseen, seed=seed, axis=axis, targets=y[:seen])


def missed(model: Model, data: Dataset, calibration: Calibration) -> Array | None:
    """What the outputs lack on the calibration batch: the negative gradient of the loss at the logits, float64 (samples, k).

    Args:
        model: The model.
        data: What its task is.
        calibration: Made by `calibrated`.

    Returns:
        `None` where outputs and samples cannot be told apart (time comes first), or are not finite.
    """
    targets, name = calibration.targets, head(model, data.task).logits
    if targets is None or calibration.axis != 0:
        return None
    given = calibration.activations(model, [name])[name].astype(np.float64)
    if len(given) != len(targets) or not np.isfinite(given).all():
        return None
    given = given.reshape(len(given), -1)
    if data.task == "regression":
        lacking = targets.reshape(given.shape) - given
        return np.asarray(lacking / np.maximum(targets.reshape(given.shape).std(0), 1e-12))
    if data.task == "multi-label" or given.shape[1] == 1:
        return np.asarray(targets.reshape(given.shape) - 1.0 / (1.0 + np.exp(-np.clip(given, -500, 500))))
    shifted = np.exp(given - given.max(1, keepdims=True))
    return np.asarray(np.eye(given.shape[1])[targets] - shifted / shifted.sum(1, keepdims=True))
