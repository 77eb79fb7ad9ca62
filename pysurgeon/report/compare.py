"""Two models beside one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pysurgeon.data import Batches, Dataset
from pysurgeon.errors import DataError
from pysurgeon.graph import Array
from pysurgeon.model import Model
from pysurgeon.model.costs import costs
from pysurgeon.model.feeds import fitted, random_feeds
from pysurgeon.model.session import Session, output_error, taken
from pysurgeon.model.timing import Ratio, Timing, timed
from pysurgeon.report.json_output import document
from pysurgeon.report.printable import Printable
from pysurgeon.training import Difference, Evaluation, as_expected, evaluate, fit_input, metric, paired

if TYPE_CHECKING:
    from rich.console import RenderableType

_SAMPLES = 256


@dataclass(frozen=True)
class Compared:
    """One of two models.

    Attributes:
        accuracy: On the test split, 0..1, or what else is the metric of the task; `None` without data.
        parameters: Trainable parameters.
        macs: Multiply-accumulate operations for one sample.
        latency_ms: Time of one sample in onnxruntime, in milliseconds; see `Timing`.
    """

    accuracy: float | None
    parameters: int
    macs: int
    latency_ms: Timing


@dataclass(frozen=True)
class Comparison(Printable):
    """Two models beside one another.

    Attributes:
        max_error: Largest absolute difference of the outputs over the largest absolute output of the first model, on a
            calibration batch; infinite where their shapes differ.
        a: The first model.
        b: The second model.
        metric: What the accuracies are: of labels, the share that is right; of numbers, the coefficient of determination.
        difference: Of the second model to the first one, sample by sample of the test split; `None` without data.
        speed: Of the time that the second model takes to that of the first one; they took turns.
        load: Wall time over processor time of the passes that were timed; well above 1, the machine was busy.
    """

    max_error: float
    a: Compared
    b: Compared
    speed: Ratio
    load: float
    metric: str = "accuracy"
    difference: Difference | None = None

    def shown(self) -> RenderableType:
        """As `pysurgeon compare` shows it."""
        from pysurgeon.report.tables import comparison_table

        return comparison_table(self)

    def to_json(self) -> dict[str, Any]:
        """The document of `pysurgeon compare --json`."""
        return document(self)


def compare(model_a: Model, model_b: Model, data: Dataset | None = None, threads: int = 1) -> Comparison:
    """Compare two loaded models on loaded data; see `pysurgeon.api.compare`.

    Outputs and latency are those of the files as they are; loading has no part in them.
    """
    data_a = None if data is None else as_expected(model_a, data)
    data_b = None if data is None else as_expected(model_b, data)
    feeds_a, feeds_b = _feeds(model_a, model_b, data_a, data_b)
    outputs_a, outputs_b = (
        _run(model.source or model, feeds, threads) for model, feeds in ((model_a, feeds_a), (model_b, feeds_b))
    )
    on_a, on_b = (
        None if d is None else evaluate(m, d, "test", threads=threads)
        for m, d in ((model_a, data_a), (model_b, data_b))
    )
    timings = timed([model_a.source or model_a, model_b.source or model_b], threads=threads)
    return Comparison(
        max_error=output_error(outputs_a, _renamed(outputs_a, outputs_b)),
        a=_compared(model_a, on_a, timings[0]),
        b=_compared(model_b, on_b, timings[1]),
        speed=timings.ratio(1),
        load=timings.load,
        metric="accuracy" if data is None else metric(data),
        difference=None if on_a is None or on_b is None else paired(on_a, on_b),
    )


def _run(model: Model, feeds: dict[str, Array], threads: int) -> dict[str, Array]:
    return Session(model, threads=threads, optimized=False).run(fitted(model.inputs, feeds))


def _compared(model: Model, on_test: Evaluation | None, timing: Timing) -> Compared:
    size = costs(model)
    accuracy = None if on_test is None else on_test.accuracy
    return Compared(accuracy, size.parameters, size.macs, timing)


def _feeds(
    model_a: Model, model_b: Model, data_a: Dataset | None, data_b: Dataset | None
) -> tuple[dict[str, Array], dict[str, Array]]:
    if data_a is not None and data_b is not None:
        fitted = (fit_input(model_a, data_a), data_a), (fit_input(model_b, data_b), data_b)
        fixed = model_a.inputs[0].shape[0] or model_b.inputs[0].shape[0]
        size = fixed or min(_SAMPLES, len(data_a.train))
        x, y = (fit.feeds(Batches(data, size, seed=0, raw=fit.raw).batch(0)[0]) for fit, data in fitted)
        return x, y
    ports = list(zip(model_a.inputs, model_b.inputs, strict=False))
    fitting = len(model_a.inputs) == len(model_b.inputs) and all(
        a.dtype == b.dtype
        and len(a.shape) == len(b.shape)
        and all(m is None or n is None or m == n for m, n in zip(a.shape, b.shape, strict=True))
        for a, b in ports
    )
    if not fitting:
        message = (
            f"the models take different input: {_inputs(model_a)} and {_inputs(model_b)}; models can be compared that are "
            "fed the same arrays in the same order"
        )
        raise DataError(message)
    # Where one of the two leaves a dimension open and the other does not, the latter decides.
    batch = next((s for a, b in ports for s in (a.shape[:1] + b.shape[:1]) if s is not None), _SAMPLES)
    closed = (
        model_a
        if sum(d is None for p in model_a.inputs for d in p.shape)
        <= sum(d is None for p in model_b.inputs for d in p.shape)
        else model_b
    )
    feeds = list(random_feeds(closed, batch=batch, dimensions=taken(closed)).values())
    named_a = {port.name: array for port, array in zip(model_a.inputs, feeds, strict=True)}
    return named_a, {port.name: array for port, array in zip(model_b.inputs, feeds, strict=True)}


def _renamed(outputs_a: dict[str, Array], outputs_b: dict[str, Array]) -> dict[str, Array]:
    """The second model's outputs under the names of the first one's, by position; empty arrays for those it lacks."""
    arrays = list(outputs_b.values())
    missing = np.empty((0,), np.float32)
    return {name: arrays[k] if k < len(arrays) else missing for k, name in enumerate(outputs_a)}


def _inputs(model: Model) -> str:
    return ", ".join(f"{p.dtype.name} {tuple('any' if d is None else d for d in p.shape)}" for p in model.inputs)
