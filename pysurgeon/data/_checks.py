"""Checks on the content of splits. Training engines read out of bounds on a label that is too large."""

from __future__ import annotations

import numpy as np

from pysurgeon.data._split import Split
from pysurgeon.data._types import Labels, Samples
from pysurgeon.errors import DataError


def check_values(split: Split, classes: int, title: str) -> None:
    """Check that labels lie in ``0..classes - 1`` and that all values are finite.

    Args:
        split: What is checked.
        classes: Number of classes.
        title: What messages call it, such as "training part".

    Raises:
        DataError: One does not, with its place.
    """
    _check_labels(split.y, classes, title)
    _check_finite(split.x, title)


def check_like(split: Split, train: Split, title: str) -> None:
    """Check that the samples of a part have the shape and the type of the training part's.

    Raises:
        DataError: They differ.
    """
    if split.sample_shape != train.sample_shape or split.x.dtype != train.x.dtype:
        message = (
            f"samples of the {title} are {split.x.dtype} {split.sample_shape}; they must be like those of the "
            f"training part, {train.x.dtype} {train.sample_shape}"
        )
        raise DataError(message)


def _check_labels(y: Labels, classes: int, title: str) -> None:
    wrong = np.flatnonzero((y < 0) | (y >= classes))
    if len(wrong):
        message = (
            f"label {y[wrong[0]]} at index {wrong[0]} of the {title}; there are {classes} classes, "
            f"so labels must lie in 0..{classes - 1}"
        )
        raise DataError(message)


def _check_finite(x: Samples, title: str) -> None:
    if x.dtype == np.uint8:
        return
    finite = np.isfinite(x)
    if not finite.all():
        where = np.unravel_index(int(np.argmin(finite)), x.shape)
        message = (
            f"value {x[where]} in the sample at index {where[0]} of the {title}; all values must be finite, "
            "so remove or replace such samples"
        )
        raise DataError(message)
