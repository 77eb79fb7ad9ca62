"""Loss and score of a model on a part of the data, by plain inference of the user's graph."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pysurgeon.data import Dataset, Targets
from pysurgeon.errors import TrainingError
from pysurgeon.graph import Array, Model
from pysurgeon.graph.session import Session
from pysurgeon.training.batch import fixed_batch, free_batch
from pysurgeon.training.fit import fit_input
from pysurgeon.training.head import head
from pysurgeon.training.loss import make_loss

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How well a model does.

    Attributes:
        loss: The mean over the samples, without class weights and label smoothing: cross-entropy in nats, or squares in
            units of the variance. See `pysurgeon.training.loss`.
        accuracy: The mean of the scores: the share of samples whose class has the largest output, the share of right
            labels, or the coefficient of determination.
        samples: How many there were.
        scores: float64 ``(samples,)``, in the order of the part; two models are compared sample by sample with it.
        metric: What the accuracy is called.
    """

    loss: float
    accuracy: float
    samples: int
    scores: Array
    metric: str


def evaluate(model: Model, data: Dataset, part: Part, *, threads: int = 1, batch_size: int = 256) -> Evaluation:
    """Run a model over a part of the data.

    A model that was exported for one batch size, and cannot be freed from it, is run in batches of that size.

    Raises:
        DataError: The data does not fit the model.
        ModelError: onnxruntime cannot run the model.
    """
    loss = make_loss(data, binary=fit_input(model, data).binary)
    losses, scores = [], []
    for z, y in answers(model, data, part, threads=threads, batch_size=batch_size):
        losses.append(loss.losses(z, y))
        scores.append(loss.scores(z, y))
    all_scores = np.concatenate(scores)
    return Evaluation(
        float(np.concatenate(losses).mean()), float(all_scores.mean()), len(all_scores), all_scores, loss.metric
    )


def answers(
    model: Model, data: Dataset, part: Part, *, threads: int = 1, batch_size: int = 256
) -> Iterator[tuple[Array, Targets]]:
    """Run a model over a part of the data; see `evaluate`.

    Returns:
        An iterator over logits ``(b, ...)`` and targets ``(b, ...)``, in the order of the part.
    """
    fit = fit_input(model, data)
    fixed = fixed_batch(model)
    if fixed is not None:
        with contextlib.suppress(TrainingError):
            model, fixed = free_batch(model), None
    end = head(model, data.task)
    session = Session(model, () if end.logits == end.output else (end.logits,), threads=threads)
    for x, y in data.evaluation_batches(part, fixed or batch_size, raw=fit.raw):
        feeds = fit.feeds(x)
        if fixed is not None and len(y) < fixed:
            feeds |= {f.name: _filled(feeds[f.name], fixed, f.axis) for f in fit.inputs if f.axis is not None}
        yield session.run(feeds)[end.logits][: len(y)], y


def _filled(x: Array, batch: int, axis: int) -> Array:
    """With zeros for the samples that a batch lacks."""
    missing = [(0, batch - size if k == axis else 0) for k, size in enumerate(x.shape)]
    return np.pad(x, missing)
