"""Data sets by name, for models: read as they want them."""

from __future__ import annotations

import os
from collections.abc import Set as AbstractSet
from functools import partial
from typing import TYPE_CHECKING

from pysurgeon.data import Dataset, ImageSize, Reading, Source, load
from pysurgeon.errors import DataError, UsageError
from pysurgeon.model import Model
from pysurgeon.training.task.binding import image_size
from pysurgeon.training.task.expected import as_expected
from pysurgeon.training.task.goal import teacher_named, with_goal

if TYPE_CHECKING:
    from typing_extensions import Unpack


def load_for(
    source: Source | Dataset,
    *models: Model,
    seed: int = 0,
    loss: str | None = None,
    teacher: str | os.PathLike[str] | None = None,
    **reading: Unpack[Reading],
) -> Dataset:
    """Load a data set for a model, or for several that are to be fed the same samples; or take it as it is.

    Images of a folder that are not of the height and width that the model's input has are resized to them: bilinear, with
    antialiasing; the aspect ratio is not kept.

    Args:
        source: See `pysurgeon.data.load`.
        *models: If it is one, samples are normalized as it expects; of several, each may expect something else, so that
            this is left open (`as_expected`).
        seed: Decides the validation part and what ``limit`` keeps.
        loss: What the one model is to be trained for, if that is not what the labels say; see `pysurgeon.training.losses.wanted`.
        teacher: Whose outputs are the targets: `start` for the model as it is, or a file.
        **reading: As `pysurgeon.data.load` takes it.

    Raises:
        DataError: There is no such data, it does not fit the model, or models want images of different sizes.
        ModelError: A model has no output that could be trained.
        UsageError: An argument is out of its range.
    """
    if not isinstance(source, Dataset):
        source = load(source, seed=seed, size=partial(_common_size, models), **reading)
    elif reading:
        message = f"the data is loaded already; give {', '.join(reading)} where it is loaded"
        raise UsageError(message)
    if len(models) != 1:
        return source
    taught = teacher_named(teacher, models[0])
    return with_goal(as_expected(models[0], source, taught), models[0], loss, taught)


def _common_size(models: tuple[Model, ...], channels: int, sizes: AbstractSet[ImageSize]) -> ImageSize | None:
    wanted = sorted({size for m in models if (size := image_size(m, channels, sizes)) is not None})
    if len(wanted) > 1:
        listed = " and ".join(f"{height}x{width}" for height, width in wanted)
        message = (
            f"the models want images of different sizes (height x width): {listed}; only models can be compared that are "
            "fed the same images"
        )
        raise DataError(message)
    return wanted[0] if wanted else None
