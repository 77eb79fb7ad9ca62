"""Checks on the content of splits. Training engines read out of bounds on a label that is too large."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pysurgeon.data.split import Split
from pysurgeon.data.types import LabelKind, Labels, Samples, Targets, Task
from pysurgeon.errors import DataError


def check_values(
    split: Split,
    classes: int,
    title: str,
    task: Task = "classification",
    several: Mapping[str, LabelKind] | None = None,
) -> None:
    """Check that labels lie in ``0..classes - 1``, or are what the task asks for, and that all values are finite.

    Args:
        split: What is checked.
        classes: Number of classes.
        task: What is to be learnt.
        title: What messages call it, such as "training part".
        several: What the labels of each output are, where there are several.

    Raises:
        DataError: One does not, with its place.
    """
    for output, kind in (several or {}).items():
        _check_targets(split.y[output], len(kind.classes), f"{title}, output {output!r},", kind.task)
    if not several:
        _check_targets(split.y, classes, title, task)
    for name, x in (split.named or {"": split.x}).items():
        _check_finite(x, f"{title}, input {name!r}" if name else title)


def _check_targets(y: Targets, classes: int, title: str, task: Task) -> None:
    if (y.dtype == np.int64) != (task == "classification"):
        message = f"the {title} has labels of type {y.dtype}, which is none for {task}"
        raise DataError(message)
    if task == "classification":
        if y.size and bool((y < 0).all()):
            message = f"the {title} has no label at all: every place is one to ignore"
            raise DataError(message)
        if classes < 2:
            message = f"the {title} has {classes} class(es); classification needs at least two"
            raise DataError(message)
        _check_labels(y, classes, title)
    else:
        _check_finite(y, f"{title}'s labels")
    if task == "multi-label" and not ((y == 0) | (y == 1)).all():
        message = f"labels of the {title} have values besides 0 and 1; where there are several labels, each is 0 or 1"
        raise DataError(message)


def check_like(split: Split, train: Split, title: str) -> None:
    """Check that the samples of a part have the shape and the type of the training part's.

    Raises:
        DataError: They differ.
    """
    if split.named.keys() != train.named.keys():
        message = (
            f"the {title} has the inputs {', '.join(split.named) or '(one without a name)'}, the training part has "
            f"{', '.join(train.named) or '(one without a name)'}; they must be the same"
        )
        raise DataError(message)
    theirs = train.named or {"": train.x}
    for name, x in (split.named or {"": split.x}).items():
        other = theirs[name]
        if x.shape[1:] != other.shape[1:] or x.dtype != other.dtype:
            message = (
                f"samples of the {title} are {x.dtype} {x.shape[1:]}; they must be like those of the "
                f"training part, {other.dtype} {other.shape[1:]}"
            )
            raise DataError(message)
    if split.y.shape[1:] != train.y.shape[1:] or split.y.dtype != train.y.dtype:
        message = (
            f"labels of the {title} are {split.y.dtype} {split.y.shape[1:]}; they must be like those of the training "
            f"part, {train.y.dtype} {train.y.shape[1:]}"
        )
        raise DataError(message)


def _check_labels(y: Labels, classes: int, title: str) -> None:
    # Of a place that has no class, others may go on; a sample without one is of no use.
    wrong = np.argwhere((y >= classes) | ((y < 0) if y.ndim == 1 else False))
    if len(wrong):
        at = tuple(int(k) for k in wrong[0])
        message = (
            f"label {y[at]} at index {at if y.ndim > 1 else at[0]} of the {title}; there are {classes} classes, "
            f"so labels must lie in 0..{classes - 1}"
        )
        if y.ndim > 1:
            message += "; places that have none are below 0, or hold the number that the file calls ignore"
        raise DataError(message)
    if not (y >= 0).any():
        message = f"the {title} has no label at all: every place is one to ignore"
        raise DataError(message)


def _check_finite(x: Samples, title: str) -> None:
    if x.dtype.kind != "f":
        return
    finite = np.isfinite(x)
    if not finite.all():
        where = np.unravel_index(int(np.argmin(finite)), x.shape)
        message = (
            f"value {x[where]} in the sample at index {where[0]} of the {title}; all values must be finite, "
            "so remove or replace such samples"
        )
        raise DataError(message)
