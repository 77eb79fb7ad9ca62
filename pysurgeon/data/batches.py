"""Training batches by global step: a run that resumes at step k sees what it would have seen."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pysurgeon.data.augment import FlipCrop
from pysurgeon.data.dataset import Dataset
from pysurgeon.data.random import Stream, generator
from pysurgeon.data.types import Inputs, Labels, Part, Targets
from pysurgeon.errors import UsageError
from pysurgeon.settings import Augment


class Batches:
    """An endless sequence of training batches with random access.

    Step ``k`` lies in epoch ``k // steps_per_epoch``. Each epoch has an order of its own that depends on the seed and
    the epoch alone; what augmentation does to a sample depends on the seed, the epoch and the sample. So a batch can
    be asked for in any order and any number of times, and a larger batch size shows the same variants. A batch is
    never empty. The arrays handed out belong to the caller.

    Args:
        dataset: Where samples and normalization come from.
        batch_size: Samples a batch, at least 1; more than there are samples means all of them.
        seed: At least 0.
        augment: What is done to images.
        part: Which part the samples come from.
        shuffle: Whether epochs have random orders; otherwise all have the order of the part.
        raw: Whether samples are not normalized.
        drop_last: Whether the samples that do not fill the last batch of an epoch wait for another epoch. Otherwise
            they form a smaller batch, whose statistics a batch normalization would take for as good as the others'.

    Raises:
        UsageError: The batch size or the seed is too small, there is no such part or augmentation, or the augmentation
            is for images and the samples are none.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        *,
        seed: int,
        augment: Augment = "none",
        part: Part = "train",
        shuffle: bool = True,
        drop_last: bool = True,
        raw: bool = False,
    ) -> None:
        if batch_size < 1:
            message = f"the batch size is {batch_size}; it must be at least 1"
            raise UsageError(message)
        if augment not in ("none", "flip-crop"):
            message = f"augment is {augment!r}; it must be 'none' or 'flip-crop'"
            raise UsageError(message)
        if augment != "none" and (len(dataset.sample_shape) != 3 or dataset.train.named or raw):
            message = (
                f"augment is {augment!r}, which is for images (C, H, W), but samples of {dataset.name} have the shape "
                f"{dataset.sample_shape}{', are named or are fed raw' if len(dataset.sample_shape) == 3 else ''}; use 'none'"
            )
            raise UsageError(message)
        self._dataset = dataset
        self._split = dataset.part(part)
        self._batch_size = min(batch_size, len(self._split))
        self._seed = seed
        self._augment: Augment = augment
        self._raw = raw
        self._shuffle = shuffle
        full, rest = divmod(len(self._split), self._batch_size)
        self._steps_per_epoch = full + (1 if rest and not drop_last else 0)
        # One assignment replaces all of it, so that threads see either the old epoch or the new one.
        self._epoch = self._prepare(0)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch, at least 1."""
        return self._steps_per_epoch

    @property
    def batch_size(self) -> int:
        """Samples a batch: what was asked for, or all samples if these are fewer."""
        return self._batch_size

    @property
    def augmented(self) -> bool:
        """Whether a sample is not the same in every epoch."""
        return self._augment != "none"

    def indices(self, step: int) -> Labels:
        """Say which samples of the part a batch holds.

        Args:
            step: Global step, at least 0.

        Returns:
            int64 ``(b,)``.

        Raises:
            UsageError: The step is negative.
        """
        return self._locate(step)[0].copy()

    def batch(self, step: int) -> tuple[Inputs, Targets]:
        """Make the batch of a step.

        Args:
            step: Global step, at least 0.

        Returns:
            Inputs, float32 ``(b, *sample_shape)``, augmented and normalized, unless they are raw or named, and targets.

        Raises:
            UsageError: The step is negative.
        """
        indices, variants = self._locate(step)
        y = self._split.y[indices]
        if variants is None:
            return self._dataset.inputs(self._split.rows(indices), raw=self._raw), y
        return variants.apply(self._dataset, self._split.x[indices], indices), y

    def epoch(self, epoch: int) -> Iterator[tuple[Inputs, Targets]]:
        """Go through the batches of one epoch, counted from 0."""
        first = epoch * self._steps_per_epoch
        return (self.batch(step) for step in range(first, first + self._steps_per_epoch))

    def _locate(self, step: int) -> tuple[Labels, FlipCrop | None]:
        if step < 0:
            message = f"the step is {step}; it must be at least 0"
            raise UsageError(message)
        number, position = divmod(step, self._steps_per_epoch)
        epoch = self._epoch
        if epoch[0] != number:
            epoch = self._epoch = self._prepare(number)
        start = position * self._batch_size
        return epoch[1][start : start + self._batch_size], epoch[2]

    def _prepare(self, number: int) -> tuple[int, Labels, FlipCrop | None]:
        """The epoch's number, the order of its samples and, where there is augmentation, what is done to each."""
        count = len(self._split)
        order = generator(Stream.ORDER, self._seed, number).permutation(count) if self._shuffle else np.arange(count)
        if self._augment == "none":
            return number, order, None
        return number, order, FlipCrop.draw(generator(Stream.AUGMENTATION, self._seed, number), count)
