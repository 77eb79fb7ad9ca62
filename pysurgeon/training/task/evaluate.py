"""Loss and score of a model on a part of the data, by plain inference of the user's graph."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pysurgeon.data import Dataset, Targets
from pysurgeon.errors import TrainingError
from pysurgeon.graph import Array
from pysurgeon.model import Model
from pysurgeon.model.dynamic_batch import fixed_batch, make_batch_dynamic
from pysurgeon.model.session import Session
from pysurgeon.training.losses.loss import per_sample
from pysurgeon.training.losses.making import make_loss, make_metric, teacher_of
from pysurgeon.training.losses.metrics import NEGATIVE
from pysurgeon.training.task.binding import fit_input
from pysurgeon.training.task.head import head

Part = Literal["train", "validation", "test"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How well a model does.

    Attributes:
        loss: The mean over the samples, without class weights and label smoothing: cross-entropy in nats, or squares in
            units of the variance. See `pysurgeon.training.losses`.
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

    A model that was exported for one batch size, and cannot be made dynamic, is run in batches of that size.

    Raises:
        DataError: The data does not fit the model.
        ModelError: onnxruntime cannot run the model.
    """
    fit, loss, metric = fit_input(model, data), make_loss(model, data), make_metric(model, data)
    teacher = teacher_of(data)
    fixed = fixed_batch(model)
    if fixed is not None:
        with contextlib.suppress(TrainingError):
            model, fixed = make_batch_dynamic(model), None
    outputs = {port.name for port in model.outputs}
    wanted = dict.fromkeys((*loss.values, *(metric.values if metric is not None else ())))
    theirs = tuple(dict.fromkeys((*loss.taught, *(metric.taught if metric is not None else ()))))
    session = Session(model, [name for name in wanted if name not in outputs], threads=threads)
    losses, scores, start = [], [], 0
    for x, y in data.evaluation_batches(part, fixed or batch_size, raw=fit.raw):
        feeds = fit.feeds(x)
        if fixed is not None and len(y) < fixed:
            feeds |= {f.name: _filled(feeds[f.name], fixed, f.axis) for f in fit.inputs if f.axis is not None}
        found = session.run(feeds)
        values = {name: found[name][: len(y)] if found[name].ndim else found[name] for name in wanted}
        rows = np.arange(start, start + len(y))
        taught = {} if teacher is None else teacher.of_part(data, theirs, part, rows, x)
        losses.append(loss.losses(tuple(values[name] for name in loss.values), y, taught))
        if metric is not None:
            scores.append(metric.scores(values, y, taught))
        start += len(y)
    all_losses = loss.of_samples(losses)
    all_scores = -all_losses
    if metric is not None:
        all_scores = per_sample(*(np.concatenate([pair[j] for pair in scores]) for j in (0, 1)))
    name = NEGATIVE if metric is None else metric.name
    return Evaluation(float(all_losses.mean()), float(all_scores.mean()), len(all_scores), all_scores, name)


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
            model, fixed = make_batch_dynamic(model), None
    end = head(model, data.task, data.output)
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
