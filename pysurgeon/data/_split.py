"""One part of a data set: samples with their labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pysurgeon.data._types import Labels, Samples
from pysurgeon.errors import DataError


@dataclass(frozen=True, eq=False)
class Split:
    """Samples and their labels, as read-only views of the arrays that were given.

    Attributes:
        x: uint8 or float32 ``(n, *sample_shape)``, raw values; images have the channels first, ``(n, C, H, W)``.
        y: int64 ``(n,)``, the class of each sample. Any integer type may be given.

    Raises:
        DataError: There are no samples, the lengths differ, or a type or rank is none of the above.
    """

    x: Samples
    y: Labels

    def __post_init__(self) -> None:
        if self.x.dtype not in (np.uint8, np.float32):
            message = f"samples are of type {self.x.dtype}; they must be uint8 or float32"
            raise DataError(message)
        if self.x.ndim < 2:
            message = f"samples have the shape {self.x.shape}; the shape must be (n, features) or (n, C, H, W)"
            raise DataError(message)
        if self.y.ndim != 1 or not np.issubdtype(self.y.dtype, np.integer):
            message = f"labels are {self.y.dtype} of the shape {self.y.shape}; they must be integers of the shape (n,)"
            raise DataError(message)
        if len(self.x) != len(self.y):
            message = f"there are {len(self.x)} samples but {len(self.y)} labels; each sample needs one label"
            raise DataError(message)
        if self.x.size == 0:
            message = f"samples have the shape {self.x.shape}; at least one value is needed"
            raise DataError(message)
        object.__setattr__(self, "x", _read_only(self.x))
        object.__setattr__(self, "y", _read_only(self.y.astype(np.int64, copy=False)))

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.y)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return tuple(self.x.shape[1:])

    def take(self, indices: Labels) -> Split:
        """Copy some samples, in the order of ``indices`` (integers ``(m,)``), into a split of their own."""
        return Split(self.x[indices], self.y[indices])


def _read_only(array: Samples) -> Samples:
    # A view, so that the caller's own array stays writable.
    view = array.view()
    view.flags.writeable = False
    return view
