"""Data that somebody has as arrays: ``.npz`` files and functions."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pysurgeon.data.raw import RawData, numbered
from pysurgeon.data.split import Split
from pysurgeon.data.types import LABELLED, LabelKind, Labels, Samples, Targets, Task
from pysurgeon.errors import DataError, UsageError

_CHANNELS = (1, 3, 4)
"""Numbers of channels by which images with the channels last are recognised: grey, RGB, RGB with alpha."""

_PARTS = {"train": "training part", "val": "validation part", "test": "test part"}


def read_npz(path: Path) -> RawData:
    """Read arrays named as in `from_arrays` from a NumPy archive; pickled objects in it are refused.

    Raises:
        DataError: The file is missing, damaged or no archive, or its arrays cannot be used.
    """
    if not path.is_file():
        message = (
            f"{path} is missing; give the path of a .npz file with x_train, y_train and, if there are, x_test, y_test"
        )
        raise DataError(message)
    try:
        # NumPy leaves a file open that it opened itself and could not read.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    # NumPy's reader meets damage in the zip, in the headers and in the arrays, each with errors of its own.
    except Exception as error:
        message = f"{path} cannot be read as an archive of plain arrays ({error}); write it with numpy.savez"
        raise DataError(message) from error
    return from_arrays(arrays, str(path))


def read_function(name: str) -> RawData:
    """Call ``module:function`` without arguments; it returns a mapping of arrays named as in `from_arrays`.

    Modules in the current folder are found, as they are by ``python -m``.

    Raises:
        UsageError: The name is not of this form.
        DataError: The module or the function is not there or fails, or its arrays cannot be used.
    """
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name.isidentifier():
        message = f"{name!r} names no function; write module:function"
        raise UsageError(message)
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    # Module and function are the user's: whatever they raise is told as the reason and stays attached as the cause.
    try:
        step = f"the module {module_name} cannot be imported"
        module = importlib.import_module(module_name)
        step = f"the module {module_name} has no function {function_name}"
        function = getattr(module, function_name)
        step = f"{name} cannot be called without arguments"
        returned = function()
    except ModuleNotFoundError as error:
        if error.name != module_name:
            message = f"{step} ({type(error).__name__}: {error})"
        else:
            message = f"there is no module {module_name} in {folder} or among what is installed; write module:function"
        raise DataError(message) from error
    except Exception as error:
        message = f"{step} ({type(error).__name__}: {error})"
        raise DataError(message) from error
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
    if not isinstance(returned, Mapping):
        message = f"{name} returned {type(returned).__name__}; it must return a mapping with x_train, y_train and so on"
        raise DataError(message)
    return from_arrays(returned, name)


def from_arrays(arrays: Mapping[str, Any], origin: str) -> RawData:
    """Take splits from a mapping of arrays.

    Args:
        arrays: ``x_train`` and ``y_train``, and as pairs, where there are, ``x_val y_val`` and ``x_test y_test``.
            Samples have the shape ``(n, features)``, ``(n, H, W)`` or ``(n, C, H, W)``; channels that come last are
            moved. Bytes stay bytes, floats become float32; so do other integers, unless they are ``(n, T)``, which may be
            numbers of tokens. For a model of several inputs, there is one array for each in the place of x, called by
            the name of the input and of the part, such as ``input_ids_train``; a single number is the same for all samples.

            ``X`` and ``Y`` mean the same as ``x`` and ``y``, and without a part they are those of the training.

            Labels are integers or words ``(n,)`` or ``(n, 1)``, the classes, or ``(n, places...)``, those of tokens or pixels; or zeros
            and ones ``(n, k)``, several labels; or floats ``(n, ...)``, numbers to predict. ``task``, where there, says
            which it is: ``classification``, ``multi-label`` or ``regression``. ``classes``, where there, holds the names of the
            classes, labels or numbers; without it words are sorted, and numbers counted from 0. A place whose label is below 0, or is
            the number ``ignore``, does not count. Samples may come without labels: then there is no ``y_train``. Labels of several
            outputs are called by their names, ``y_boxes_train`` and ``y_kinds_train``, and so are ``task_boxes``, ``classes_kinds`` and
            ``ignore_kinds``.
        origin: What messages call it.

    Returns:
        The splits.

    Raises:
        DataError: Something required is missing, or of another shape or type.
    """
    arrays, more = _in_numbers(_usual_names(arrays), origin)
    outputs = [name[len("y_") : -len("_train")] for name in arrays if name.startswith("y_") and name.endswith("_train")]
    if outputs := [name for name in outputs if name]:
        return _of_outputs(arrays, outputs, origin)
    names = [name[: -len("_train")] for name in arrays if name.endswith("_train") and name != "y_train"]
    # An array that nobody knows may be the labels by another name.
    known = {f"{name}_{part}" for name in names for part in _PARTS} | {"classes"}
    missing = [] if names else ["x_train"]
    missing += [] if "y_train" in arrays or (names and arrays.keys() <= known) else ["y_train"]
    if missing:
        message = (
            f"{origin} has no {' and no '.join(missing)}; it has {', '.join(sorted(arrays)) or 'nothing'}. Call the samples "
            "x_train and the labels y_train"
        )
        raise DataError(message)
    plain = names == ["x"]
    splits: dict[str, Split] = {}
    notes = more
    last = plain and _has_channels_last(np.asarray(arrays["x_train"]))
    task = _task(arrays, origin)
    for part, title in _PARTS.items():
        inputs, y = [f"{name}_{part}" for name in names], f"y_{part}"
        wanted = inputs if task == "unlabelled" else [*inputs, y]
        there = [x for x in [*inputs, y] if x in arrays]
        if there and there != wanted:
            message = f"{origin} has only some of {', '.join([*inputs, y])}; samples and labels come in pairs"
            raise DataError(message)
        if not there:
            continue
        read = _samples if plain else _named
        given = {x: np.asarray(arrays[x]) for x in inputs}
        labels = _labels_of(arrays, y, task, given, origin)
        if not plain:  # what has no samples is the same for all
            given = {x: np.broadcast_to(a, (len(labels),)) if a.ndim == 0 else a for x, a in given.items()}
        named = {name: read(given[x], last, f"{x} of {origin}") for name, x in zip(names, inputs, strict=True)}
        for samples in named.values():
            if len(samples) != len(labels) or not samples.size:
                message = f"the {title} of {origin} has {len(samples)} samples and {len(labels)} labels"
                raise DataError(message + "; there must be some, and as many of the one as of the other")
        splits[part] = Split(next(iter(named.values())), labels, {} if plain else named)
    if last:
        notes = (*notes, "channels came last and were moved to the front")
    classes = _classes(arrays, splits["train"].y, task, origin)
    return RawData(splits["train"], splits.get("test"), splits.get("val"), classes, notes, task)


def _of_outputs(arrays: Mapping[str, Any], outputs: list[str], origin: str) -> RawData:
    """Splits whose labels are of several outputs: each read as if it were alone, and then put together."""
    if "y_train" in arrays:
        message = f"{origin} has y_train beside y_{outputs[0]}_train; call each by the output that it is for"
        raise DataError(message)
    own = {f"{word}_{output}": word for output in outputs for word in ("task", "classes", "ignore")}
    labels = {f"y_{output}_{part}" for output in outputs for part in _PARTS}
    shared = {name: array for name, array in arrays.items() if name not in own and name not in labels}
    read: dict[str, RawData] = {}
    for output in outputs:
        told = {word: arrays[name] for name, word in own.items() if name == f"{word}_{output}" and name in arrays}
        told |= {f"y_{part}": arrays[f"y_{output}_{part}"] for part in _PARTS if f"y_{output}_{part}" in arrays}
        read[output] = from_arrays({**shared, **told}, f"{origin} (output {output!r})")
    first = read[outputs[0]]
    joined: list[Split | None] = []
    for part in ("train", "test", "validation"):
        splits = {output: getattr(raw, part) for output, raw in read.items()}
        given = next(iter(splits.values()))
        if given is None:
            joined.append(None)
            continue
        y = np.empty(len(given), [(output, split.y.dtype, split.y.shape[1:]) for output, split in splits.items()])
        for output, split in splits.items():
            y[output] = split.y
        joined.append(Split(given.x, y, given.named))
    train, test, validation = joined
    assert train is not None
    kinds = {output: LabelKind(raw.task, raw.classes) for output, raw in read.items()}
    return RawData(train, test, validation, (), first.notes, "several", kinds)


def _usual_names(arrays: Mapping[str, Any]) -> Mapping[str, Any]:
    """With names as others write them in the way that they are written here."""
    names = {name: f"{name[0].lower()}{name[1:]}" if name[:2] in ("X_", "Y_") else name for name in arrays}
    if {name.lower() for name in arrays} in ({"x", "y"}, {"x"}):
        names = {name: f"{name.lower()}_train" for name in arrays}
    if len(set(names.values())) < len(names):
        return arrays
    return {names[name]: array for name, array in arrays.items()}


def _in_numbers(arrays: Mapping[str, Any], origin: str) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """With class numbers in the place of words, and what is to be noted of labels that are taken for classes.

    Raises:
        DataError: A part has a word that the training part does not have, or the names of the classes do not have it.
    """
    labels = {f"y_{part}": np.asarray(arrays[f"y_{part}"]) for part in _PARTS if f"y_{part}" in arrays}
    words = {name: y.astype(str) for name, y in labels.items() if _is_words(y)}
    if "y_train" not in words:
        y = labels.get("y_train")
        whole = (
            y is not None
            and y.dtype.kind == "f"
            and _task(arrays, origin) == "classification"
            and bool((y == np.floor(y)).all())
        )
        return arrays, ("labels are floats without fractions, so they are taken for classes",) if whole else ()
    if all(word.lstrip("-").isdecimal() for y in words.values() for word in np.unique(y)):
        return {**arrays, **{name: y.astype(np.int64) for name, y in words.items()}}, ()
    given = [str(name) for name in np.asarray(arrays["classes"]).reshape(-1)] if "classes" in arrays else []
    classes = given or [str(word) for word in np.unique(words["y_train"])]
    numbers = {word: k for k, word in enumerate(classes)}
    counted: dict[str, Any] = {}
    for name, y in words.items():
        found, places = np.unique(y, return_inverse=True)
        if lacking := [str(word) for word in found if word not in numbers]:
            where = "classes" if given else "y_train"
            message = f"{name} of {origin} has the label {lacking[0]!r}, which {where} does not have: {', '.join(classes[:10])}"
            raise DataError(message)
        counted[name] = np.array([numbers[word] for word in found], np.int64)[places].reshape(y.shape)
    return {**arrays, **counted, "classes": np.array(classes)}, ()


def _is_words(y: Samples) -> bool:
    return y.dtype.kind == "U" or (y.dtype.kind == "O" and y.size > 0 and all(isinstance(word, str) for word in y.flat))


def _task(arrays: Mapping[str, Any], origin: str) -> Task:
    """What the file says it is, or what the labels look like."""
    if said := _said(arrays):
        for task in LABELLED:
            if said == task:
                return task
        message = f"task of {origin} is {said!r}; it must be one of {', '.join(LABELLED)}"
        raise DataError(message)
    if "y_train" not in arrays:
        return "unlabelled"
    y = np.asarray(arrays["y_train"])
    if y.dtype.kind not in "buif" or (y.ndim == 2 and y.shape[1] == 1 and y.dtype.kind != "f"):
        return "classification"
    several = y.ndim == 2 and y.shape[1] > 1
    if several and bool(((y == 0) | (y == 1)).all()):
        # One in every row means that the labels exclude one another, and then they are classes.
        return "classification" if bool((y.sum(axis=1) == 1).all()) else "multi-label"
    if y.dtype.kind == "f" and (several or y.ndim > 2 or not bool((y == np.floor(y)).all())):
        return "regression"
    return "classification"


def _said(arrays: Mapping[str, Any]) -> str:
    """The task that the file names, nothing if it names none."""
    return str(np.asarray(arrays["task"])) if "task" in arrays else ""


def _labels_of(
    arrays: Mapping[str, Any], name: str, task: Task, samples: Mapping[str, Samples], origin: str
) -> Targets:
    """The labels of a part; of no numbers where there are none."""
    if task == "unlabelled":
        counts = [len(x) for x in samples.values() if x.ndim]
        return np.zeros((counts[0] if counts else 1, 0), np.float32)
    y = np.asarray(arrays[name])
    if task != "classification":
        return _targets(y, task, f"{name} of {origin}")
    one_hot = y.ndim == 2 and y.shape[1] > 1 and bool(((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all())
    if one_hot and not _said(arrays):
        message = (
            f"{name} of {origin} has the shape {y.shape}; expected class numbers (n,), of one-hot rows take the argmax (or say "
            "task='multi-label', or task='classification' where each row holds the classes of its places)"
        )
        raise DataError(message)
    labels = _labels(y, f"{name} of {origin}")
    ignored = arrays.get("ignore")
    if ignored is None:
        return labels
    number = np.asarray(ignored)
    if number.size != 1 or number.dtype.kind not in "iu" or labels.ndim == 1:
        message = (
            f"ignore of {origin} is {number!s:.40}; it must be one integer, that of the places without a class, and labels "
            "must be of places (n, places...)"
        )
        raise DataError(message)
    return np.where(labels == int(number.reshape(())), -1, labels)


def _has_channels_last(x: Samples) -> bool:
    return x.ndim == 4 and x.shape[3] in _CHANNELS and x.shape[1] not in _CHANNELS


def _samples(x: Samples, channels_last: bool, origin: str) -> Samples:
    if x.ndim not in (2, 3, 4):
        message = f"{origin} has the shape {x.shape}; expected (n, features), (n, H, W), (n, C, H, W) or (n, H, W, C)"
        raise DataError(message)
    if x.dtype.kind not in "buif":
        message = f"{origin} is of type {x.dtype}; expected numbers"
        raise DataError(message)
    if x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and channels_last:
        x = x.transpose(0, 3, 1, 2)
    if x.dtype == np.uint8:
        return np.ascontiguousarray(x)
    if x.dtype.kind in "ui" and x.ndim == 2:
        return np.ascontiguousarray(x, dtype=np.int64)
    # What float32 cannot hold becomes infinite here and is reported with its place by the data set's own check.
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(x, dtype=np.float32)


def _named(x: Samples, channels_last: bool, origin: str) -> Samples:  # noqa: ARG001  (read in the place of `_samples`)
    """An array for an input of which nothing is known but its name."""
    if x.dtype.kind not in "buif" or x.ndim < 1:
        message = f"{origin} is of type {x.dtype} and of the shape {x.shape}; expected numbers (n, ...)"
        raise DataError(message)
    if x.dtype == np.uint8:
        return np.ascontiguousarray(x)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(x, dtype=np.float32 if x.dtype.kind == "f" else np.int64)


def _targets(y: Samples, task: Task, origin: str) -> Targets:
    if y.dtype.kind not in "buif" or y.ndim < 1:
        message = f"{origin} is of type {y.dtype} and of the shape {y.shape}; {task} expects numbers (n, ...)"
        raise DataError(message)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(y, dtype=np.float32)


def _labels(y: Samples, origin: str) -> Labels:
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim < 1:
        message = f"{origin} is a single number; expected class numbers (n,), or those of places (n, places...)"
        raise DataError(message)
    if y.dtype.kind == "f" and np.isfinite(y).all() and (y == np.floor(y)).all() and (np.abs(y) < 2**31).all():
        y = y.astype(np.int64)
    if y.dtype.kind not in "bui":
        message = f"{origin} is of type {y.dtype}; expected class numbers, integers from 0 on"
        raise DataError(message)
    return y.astype(np.int64)


def _classes(arrays: Mapping[str, Any], y: Targets, task: Task, origin: str) -> tuple[str, ...]:
    if "classes" in arrays:
        names = np.asarray(arrays["classes"])
        if names.ndim != 1:
            message = f"classes of {origin} has the shape {names.shape}; expected the names (classes,)"
            raise DataError(message)
        return tuple(str(name) for name in names)
    if task != "classification":
        return numbered(y.shape[1] if y.ndim > 1 else 1)
    if y.max() >= y.size:
        message = f"y_train of {origin} goes up to {y.max()} with {y.size} samples; number the classes from 0 on"
        raise DataError(message)
    return numbered(int(y.max()) + 1)
