"""Loss and accuracy of a model on a part of the data, by plain inference of the user's graph."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pysurgeon.data import Dataset
from pysurgeon.errors import TrainingError
from pysurgeon.graph import Array, Model
from pysurgeon.graph.session import Session
from pysurgeon.training.batch import fixed_batch, free_batch
from pysurgeon.training.fit import fit_input
from pysurgeon.training.head import head

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How well a model does.

    Attributes:
        loss: Mean cross-entropy in nats.
        accuracy: Share of the samples whose class has the largest output.
        samples: How many there were.
        correct: bool ``(samples,)``, in the order of the part; two models are compared sample by sample with it.
    """

    loss: float
    accuracy: float
    samples: int
    correct: np.ndarray[Any, np.dtype[np.bool_]]


def evaluate(model: Model, data: Dataset, part: Part, *, threads: int = 1, batch_size: int = 256) -> Evaluation:
    """Run a model over a part of the data.

    A model that was exported for one batch size, and cannot be freed from it, is run in batches of that size.

    Raises:
        DataError: The data does not fit the model.
        ModelError: onnxruntime cannot run the model.
    """
    fit = fit_input(model, data)
    fixed = fixed_batch(model)
    if fixed is not None:
        with contextlib.suppress(TrainingError):
            model, fixed = free_batch(model), None
    logits = head(model).logits
    session = Session(model, () if logits == model.outputs[0].name else (logits,), threads=threads)
    losses, correct = [], []
    for x, y in data.evaluation_batches(part, fixed or batch_size):
        feed = fit.batch(x)
        if fixed is not None and len(feed) < fixed:
            feed = np.concatenate([feed, np.zeros((fixed - len(feed), *feed.shape[1:]), np.float32)])
        z = session.run({fit.name: feed})[logits][: len(y)]
        losses.append(cross_entropy(z, y))
        correct.append(z.argmax(axis=1) == y)
    right = np.concatenate(correct)
    return Evaluation(float(np.concatenate(losses).mean()), float(right.mean()), len(right), right)


def cross_entropy(logits: Array, labels: Array) -> Array:
    """Cross-entropy of each sample, float64 ``(n,)``, of logits ``(n, classes)``; NaN where a logit is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        z = logits.astype(np.float64)
        z = z - z.max(axis=1, keepdims=True)
        picked: Array = z[np.arange(len(labels)), labels]
        losses: Array = np.log(np.exp(z).sum(axis=1)) - picked
    return losses
