"""What a model expects of its input: its file says so, or it shows.

An export rarely says how raw values were normalized before the network saw them, and with another normalization a trained network gives
other answers without a word. So, unless the user has chosen:

- a file that this project wrote holds the formula in its metadata (`pysurgeon.input`), and that is what is done;
- of the usual normalizations, the one under which a trained network does best is taken. A network counts as trained if under one of
  them its loss is below that of who knows how frequent the labels are, and no more;
- everything else is standardized: images per channel, tables per column, sequences of floats per feature.
"""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from pysurgeon.data import Batches, Dataset, LabelKind, Normalization, Normalize, Split, fit_normalization
from pysurgeon.errors import DataError
from pysurgeon.graph import Array, Model
from pysurgeon.training.evaluate import evaluate
from pysurgeon.training.fit import Fit, fit_input
from pysurgeon.training.teacher import Teacher

INPUT, CLASSES = "pysurgeon.input", "pysurgeon.classes"

# Training samples that a network shows on what it expects.
_SAMPLES = 128
# The share of what labels alone tell that a network has to save before it counts as trained.
_SKILL = 0.05

_TITLES: dict[Normalize, str] = {
    "standard": "with zero mean and unit deviation",
    "unit": "divided by 255",
    "none": "as it is",
}


def as_expected(model: Model, data: Dataset, teacher: Teacher | None = None) -> Dataset:
    """The data set with the normalization that a model expects, if the user has left that open.

    Args:
        model: The model.
        data: The data set.
        teacher: Is fed the same; what its file says holds where the model's says nothing.

    Raises:
        DataError: The data does not fit the model, not the normalization in the model's file, or the files of model and teacher say different ones.
    """
    if not data.undecided:
        return data
    fit = fit_input(model, data)
    if fit.raw:
        return replace(data, undecided=False)
    said = _said(model, data)
    theirs = None if teacher is None else _said(teacher.model, data)
    if said is not None and theirs is not None and teacher is not None and not _same(said, theirs):
        message = (
            f"the files of the model and of the teacher {teacher.name} want samples normalized in different ways, and both are fed the same; "
            "say how with --normalize"
        )
        raise DataError(message)
    said = said or theirs
    if said is not None:
        return data.with_normalization(said, "normalized as the model's file says")
    if data.task == "unlabelled":  # by which nothing can be told: whoever has floats has prepared them
        unit: Normalize = "unit" if data.train.x.dtype == np.uint8 else "none"
        return data.with_normalization(
            fit_normalization(data.train.x, unit), f"fed {_TITLES[unit]}, as there are no labels to tell by"
        )
    standard = _standard(data, fit)
    # For floats, dividing bytes by 255 is nothing else than raw values.
    others: list[Normalize] = ["unit", "none"] if data.train.x.dtype == np.uint8 else ["none"]
    tried = {"standard": standard, **{name: fit_normalization(data.train.x, name) for name in others}}
    best = _best(model, data, tried)
    why = ", with which the model as given does best" if best is not None else ""
    chosen = best or "standard"
    return data.with_normalization(tried[chosen], f"fed {_TITLES[chosen]}{why}")


def with_input_metadata(model: Model, data: Dataset) -> Model:
    """The same network with a note in its file's metadata on what must be done to raw samples before it sees them.

    The entry `pysurgeon.input` is a JSON object with the formula, its numbers by channel or feature, and the arrangement of the axes;
    `pysurgeon.classes` is a JSON list of the names of the outputs. Named inputs are fed as they are and get no formula.
    """
    # Numbers to predict that nobody named have no names: "0" would say nothing.
    nameless = data.task not in ("classification", "multi-label") and data.classes == tuple(
        str(k) for k in range(len(data.classes))
    )
    classes = {} if nameless else {CLASSES: json.dumps(data.classes)}
    fit = fit_input(model, data)
    if fit.named or fit.raw:
        return model.with_metadata(classes)
    by_feature = data.mean.ndim > 1
    formula = {
        "formula": f"(raw * scale - mean) / std, per {'feature, the last axis' if by_feature else 'channel'}",
        "scale": data.scale,
        "mean": data.mean.reshape(-1).tolist(),
        "std": data.std.reshape(-1).tolist(),
        "arrange": fit.inputs[0].arrange,
    }
    if by_feature:
        formula["axis"] = -1
    return model.with_metadata({INPUT: json.dumps(formula), **classes})


def _same(a: Normalization, b: Normalization) -> bool:
    """Whether two normalizations give the same, up to rounding."""
    pairs = (a.scale / a.std, b.scale / b.std), (a.mean / a.std, b.mean / b.std)
    return all(np.allclose(ours, theirs, rtol=1e-4, atol=1e-6) for ours, theirs in pairs)


def _said(model: Model, data: Dataset) -> Normalization | None:
    """What the model's file says."""
    entry = model.ir.metadata_props.get(INPUT)
    if entry is None:
        return None
    try:
        formula = json.loads(entry)
        scale = float(formula["scale"])
        mean, std = (np.asarray(formula[name], np.float32).reshape(-1) for name in ("mean", "std"))
    except (ValueError, KeyError, TypeError) as error:
        message = (
            f"the metadata entry {INPUT!r} of the model is damaged ({error}); say how to normalize with --normalize"
        )
        raise DataError(message) from error
    if scale != 1.0 and data.train.x.dtype != np.uint8:
        message = (
            f"the model's file says that raw values are multiplied by {scale:.6g}, so they were bytes, and {data.name!r} holds "
            f"{data.train.x.dtype}; give bytes, or say how to normalize with --normalize"
        )
        raise DataError(message)
    shape: tuple[int, ...] = () if len(mean) == 1 else mean.shape
    if formula.get("axis") == -1:
        shape = (1,) * (len(data.sample_shape) - 1) + mean.shape
    fitting = shape in ((), data.sample_shape[:1], (1,) * (len(data.sample_shape) - 1) + data.sample_shape[-1:])
    if not fitting or mean.shape != std.shape:
        message = (
            f"the model's file has a normalization for {len(mean)} channels, and samples of {data.name!r} have the shape "
            f"{data.sample_shape}; give the data that the model is for, or say how to normalize with --normalize"
        )
        raise DataError(message)
    return Normalization(scale, mean.reshape(shape), std.reshape(shape))


def _standard(data: Dataset, fit: Fit) -> Normalization:
    """Of a sequence of floats every feature has its own scale; an image has channels."""
    x = data.train.x
    is_sequence = x.dtype == np.float32 and x.ndim == 4 and x.shape[1] == 1 and fit.inputs[0].shape == x.shape[2:]
    return (
        fit_normalization(x, "standard", by_feature=True)
        if is_sequence
        else Normalization(data.scale, data.mean, data.std)
    )


def _best(model: Model, data: Dataset, tried: dict[Normalize, Normalization]) -> Normalize | None:
    """The normalization with which a model does best, `None` if it does well with none."""
    x, y = Batches(data, min(_SAMPLES, len(data.train)), seed=0, raw=True).batch(0)
    assert not isinstance(x, dict)
    few = replace(data, train=Split(x, y))

    def loss(numbers: Normalization) -> float:
        fed = replace(few, mean=numbers.mean, std=numbers.std, scale=numbers.scale)
        return evaluate(model, fed, "train").loss

    found = {name: loss(numbers) for name, numbers in tried.items()}
    best = min(found, key=lambda name: found[name] if np.isfinite(found[name]) else np.inf)
    return best if found[best] < (1 - _SKILL) * _guess(few) else None


def _guess(data: Dataset) -> float:
    """The loss of who knows the frequencies of the labels and nothing else."""
    kinds = data.several or {"": LabelKind(data.task, data.classes)}
    return sum(_guessed(data.train.y[output] if output else data.train.y, kind) for output, kind in kinds.items())


def _guessed(y: Array, kind: LabelKind) -> float:
    if kind.task == "regression":
        return 1.0
    if kind.task == "classification":
        labels = y[y >= 0]
        share = np.bincount(labels, minlength=len(kind.classes)) / len(labels)
        return float(-np.sum(share * np.log(np.maximum(share, 1e-12))))
    share = np.clip(y.reshape(len(y), -1).mean(axis=0), 1e-12, 1 - 1e-12)
    return float(np.mean(-share * np.log(share) - (1 - share) * np.log(1 - share)))
