"""Augmentation of image batches: random horizontal flip and random crop after padding.

The padding is zero *after* normalization, hence the mean colour of the training part under ``standard`` and black
under ``unit`` and ``none``. Every sample's draws depend on the seed, the epoch and its index alone, so that batches of
any size and order show the same variant of a sample in the same epoch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pysurgeon.data.dataset import Dataset
from pysurgeon.data.types import Floats, Labels, Samples

PADDING = 4
"""Pixels added on every side before the crop, as is usual for images of 32 pixels."""


@dataclass(frozen=True, eq=False)
class FlipCrop:
    """What happens to each of ``n`` samples.

    Attributes:
        flip: bool ``(n,)``, whether left and right are exchanged.
        top: int64 ``(n,)``, first row of the crop in the padded image, 0..2 * `PADDING`.
        left: int64 ``(n,)``, first column likewise.
    """

    flip: npt.NDArray[np.bool_]
    top: Labels
    left: Labels

    @classmethod
    def draw(cls, rng: np.random.Generator, count: int) -> FlipCrop:
        """Draw for ``count`` samples."""
        top, left = rng.integers(0, 2 * PADDING + 1, size=(2, count))
        return cls(rng.random(count) < 0.5, top, left)

    def apply(self, dataset: Dataset, x: Samples, indices: Labels) -> Floats:
        """Augment and normalize images.

        Args:
            dataset: Its normalization is applied.
            x: Raw images ``(b, C, H, W)``; not modified.
            indices: int64 ``(b,)``, the index of each image among the ``n`` samples.

        Returns:
            float32 ``(b, C, H, W)``.
        """
        height, width = x.shape[2:]
        mirrored = np.where(self.flip[indices, None, None, None], x[..., ::-1], x)
        padded = np.zeros((*x.shape[:2], height + 2 * PADDING, width + 2 * PADDING), np.float32)
        dataset.normalized(mirrored, out=padded[:, :, PADDING:-PADDING, PADDING:-PADDING])
        windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
        crops: Floats = windows[np.arange(len(x)), :, self.top[indices], self.left[indices]]
        return crops
