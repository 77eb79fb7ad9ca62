"""What turns raw values into a model's input, where nobody has chosen it: its file says so, or one of the usual ways is tried.

An export rarely says how raw values were normalized before the network saw them, and with another normalization a trained network gives
other answers without a word. A file that this project wrote holds the formula in its metadata (`pysurgeon.input`) and the names of its
outputs (`pysurgeon.classes`).
"""

from __future__ import annotations

import ast
import json

import numpy as np

from pysurgeon.data import PUBLISHED, Dataset, Normalization, Normalize, fit_normalization
from pysurgeon.errors import DataError
from pysurgeon.model import Model
from pysurgeon.training.task.binding import Fit, fit_input

INPUT, CLASSES = "pysurgeon.input", "pysurgeon.classes"
# Where exporters of detectors and classifiers write the names of the outputs, as a Python dictionary by number.
_NAMES = "names"

TITLES: dict[str, str] = {
    "standard": "with zero mean and unit deviation",
    "unit": "divided by 255",
    "none": "as it is",
    "imagenet": "with ImageNet's mean and deviation",
    "half": "scaled to -1..1",
    "clip": "with CLIP's mean and deviation",
}


def usual_ways(data: Dataset, fit: Fit) -> dict[str, Normalization]:
    """The usual normalizations of such data; the first one is for a model that says nothing."""
    x = data.train.x
    ways: dict[str, Normalization] = {"standard": _standard(data, fit)}
    is_bytes, is_image = x.dtype == np.uint8, x.ndim == 4 and len(fit.inputs[0].shape) == 3
    # For floats, dividing bytes by 255 is nothing else than raw values.
    names: list[Normalize] = ["unit", "none"] if is_bytes else ["none"]
    if is_bytes or (is_image and float(x.min()) >= 0 and float(x.max()) <= 1):
        names += [
            name for name, (mean, _) in PUBLISHED.items() if len(mean) == 1 or (is_image and len(mean) == x.shape[1])
        ]
    return ways | {name: fit_normalization(x, name) for name in names}


def said_names(model: Model) -> tuple[str, ...]:
    """The names of the outputs that a model's file holds, in their order; nothing where it holds none."""
    properties = model.ir.metadata_props
    try:
        if CLASSES in properties:
            found = json.loads(properties[CLASSES])
        else:
            numbered = ast.literal_eval(properties.get(_NAMES, "{}"))
            found = [numbered[k] for k in range(len(numbered))]
        names = tuple(map(str, found)) if isinstance(found, list) else ()
    except (ValueError, KeyError, TypeError, SyntaxError, MemoryError, RecursionError):
        return ()
    return names if len(set(names)) == len(names) else ()


def with_input_metadata(model: Model, data: Dataset) -> Model:
    """The same network with a note in its file's metadata on what must be done to raw samples before it sees them.

    The entry `pysurgeon.input` is a JSON object with the formula, its numbers by channel or feature, and the arrangement of the axes;
    `pysurgeon.classes` is a JSON list of the names of the outputs. Named inputs are fed as they are and get no formula.
    """
    # Numbers to predict that nobody named have no names: "0" would say nothing.
    nameless = data.task not in ("classification", "multi-label") and data.nameless
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


def same(a: Normalization, b: Normalization) -> bool:
    """Whether two normalizations give the same, up to rounding."""
    pairs = (a.scale / a.std, b.scale / b.std), (a.mean / a.std, b.mean / b.std)
    return all(np.allclose(ours, theirs, rtol=1e-4, atol=1e-6) for ours, theirs in pairs)


def said_normalization(model: Model, data: Dataset) -> Normalization | None:
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
