"""Statistics of the training part: what turns raw values into what a model sees.

The model sees ``(x * scale - mean) / std`` with ``scale`` 1/255 for bytes and 1 for floats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt

from pysurgeon.data._types import Floats, Normalize, Samples
from pysurgeon.errors import UsageError

_CHUNK = 256
"""Samples a step: the float64 copies of a step stay in the cache for small images."""

_RESOLUTION = 1e-7
"""A deviation below this part of the mean is rounding of float32, not variation."""


@dataclass(frozen=True, eq=False)
class Normalization:
    """Numbers of ``(x * scale - mean) / std``.

    Attributes:
        scale: What raw values are multiplied by.
        mean: float32 ``(C,)``, or ``()`` where one number serves all.
        std: float32 of the same shape, above 0.
    """

    scale: float
    mean: Floats
    std: Floats


def fit(x: Samples, normalize: Normalize, *, by_feature: bool = False) -> Normalization:
    """Compute the normalization from the training samples.

    Images are standardised per channel, tables of floats per column, tables of bytes (pixels laid flat, some of which
    never vary) by one number. What does not vary is centred and not divided.

    Args:
        x: uint8 or float32 ``(n, *sample_shape)``.
        normalize: Which normalization; `auto` is `standard` as long as no model is known.
        by_feature: Standardize the last axis, of sequences of floats, instead of the first one.

    Returns:
        Its numbers.

    Raises:
        UsageError: ``normalize`` is none of its words.
    """
    if normalize not in get_args(Normalize):
        message = f"normalize is {normalize!r}; it must be 'auto', 'standard', 'unit' or 'none'"
        raise UsageError(message)
    is_bytes = x.dtype == np.uint8
    scale = 1 / 255 if is_bytes and normalize != "none" else 1.0
    if normalize in ("unit", "none"):
        return Normalization(scale, np.zeros((), np.float32), np.ones((), np.float32))
    if by_feature:
        numbers = fit(x.reshape(-1, x.shape[-1]), normalize)
        shape = (1,) * (x.ndim - 2) + x.shape[-1:]
        return Normalization(scale, numbers.mean.reshape(shape), numbers.std.reshape(shape))
    channels = 1 if is_bytes and x.ndim == 2 else x.shape[1]
    # Values that are not finite are for the data set's check, which tells their place.
    with np.errstate(invalid="ignore"):
        mean, std = _moments(x.reshape(len(x), channels, -1))
    std = np.where(std <= _RESOLUTION * np.abs(mean), 1.0 / scale, std)
    shape = () if is_bytes and x.ndim == 2 else (channels,)
    # np.array keeps rank 0 an array; indexing and arithmetic would turn it into a scalar.
    return Normalization(
        scale,
        np.array((mean * scale).reshape(shape), np.float32),
        np.array((std * scale).reshape(shape), np.float32),
    )


def _moments(x: Samples) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and standard deviation, float64 ``(C,)``, of ``(n, C, values)`` over samples and values."""
    # Differences from a nearby pivot keep the variance exact where the mean is large against the deviation.
    pivot = x[:_CHUNK].mean(axis=(0, 2), dtype=np.float64)
    total = np.zeros(x.shape[1])
    squares = np.zeros(x.shape[1])
    for start in range(0, len(x), _CHUNK):
        difference = x[start : start + _CHUNK] - pivot[:, None]
        total += difference.sum(axis=(0, 2))
        squares += np.einsum("ncv,ncv->c", difference, difference)
    count = x.shape[0] * x.shape[2]
    shift = total / count
    return pivot + shift, np.sqrt(np.maximum(squares / count - shift**2, 0.0))
