"""Statistics of the training part: what turns raw values into what a model sees.

The model sees ``(x * scale - mean) / std`` with ``scale`` 1/255 for bytes and 1 for floats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt

from pysurgeon.data.types import Floats, Numbers, Samples
from pysurgeon.errors import SettingError, UsageError
from pysurgeon.settings import Normalize

_CHUNK = 256
"""Samples a step: the float64 copies of a step stay in the cache for small images."""

_RESOLUTION = 1e-7
"""A deviation below this part of the mean is rounding of float32, not variation."""

PUBLISHED: dict[Normalize, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5,), (0.5,)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}
"""Means and deviations, of values from 0 to 1, that networks for images are usually trained with."""


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
        message = f"normalize is {normalize!r}; it must be one of {', '.join(get_args(Normalize))}"
        raise UsageError(message)
    if normalize in PUBLISHED:
        means, stds = PUBLISHED[normalize]
        if len(means) not in (1, x.shape[1]):
            name = "normalize"
            trouble = (
                f"is {normalize!r}, which is for {len(means)} channels, and samples have the shape {x.shape[1:]}; give numbers of "
                "your own, a mean and a deviation"
            )
            raise SettingError(name, trouble)
        return fit_numbers(x, means, stds)
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


def fit_numbers(x: Samples, mean: Numbers | None, std: Numbers | None) -> Normalization:
    """The normalization with a mean and a deviation that somebody gives.

    They are those of values from 0 to 1, as bytes are after the division by 255; where one of them is above 1, those of the bytes themselves.
    Floats are taken as they are.

    Args:
        x: uint8 or float32 ``(n, *sample_shape)``.
        mean: One number, or one for each channel or column; 0 where `None`.
        std: Likewise; 1 where `None`.

    Raises:
        SettingError: There are too many or too few of them, or a deviation is not above 0.
    """
    means, stds = _numbers("mean", mean, 0.0), _numbers("std", std, 1.0)
    for name, found in (("mean", means), ("std", stds)):
        if len(found) not in (1, x.shape[1]):
            trouble = (
                f"has {len(found)} numbers, and samples have the shape {x.shape[1:]}; give one number, or {x.shape[1]}"
            )
            raise SettingError(name, trouble)
    if not (stds > 0).all():
        raise SettingError(name, f"is {std}; what values are divided by must be above 0")
    size = max(len(means), len(stds))
    shape = () if size == 1 else (size,)
    of_bytes = x.dtype == np.uint8
    whole = 255.0 if of_bytes and max(abs(means).max(), stds.max()) > 1 else 1.0
    return Normalization(
        1 / 255 if of_bytes else 1.0,
        *(np.array(np.broadcast_to(a / whole, size).reshape(shape), np.float32) for a in (means, stds)),
    )


def _numbers(name: str, given: Numbers | None, default: float) -> npt.NDArray[np.float64]:
    if given is None:
        given = default
    try:
        found = np.array(given.split(",") if isinstance(given, str) else given, np.float64).reshape(-1)
    except (TypeError, ValueError):
        found = np.empty(0)
    if not len(found) or not np.isfinite(found).all():
        raise SettingError(
            name, f"is {given!r:.80}; give one number, or one for each channel, such as 0.485,0.456,0.406"
        )
    return found


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
