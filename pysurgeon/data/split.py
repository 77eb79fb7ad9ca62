"""One part of a data set: samples with what is to be learnt of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pysurgeon.data.types import Inputs, Labels, Samples, Targets
from pysurgeon.errors import DataError


@dataclass(frozen=True, eq=False)
class Split:
    """Samples and their targets, as read-only views of the arrays that were given.

    Attributes:
        x: uint8, float32 or int64 ``(n, *sample_shape)``, raw values; images have the channels first, ``(n, C, H, W)``,
            texts are the numbers of their tokens ``(n, T)``.
        y: int64 ``(n,)``, the class of each sample, or ``(n, places...)``, that of each token or pixel, of any integer type; or float32
            ``(n, ...)``, labels or numbers, ``(n, 0)`` where there are none.
        named: For models of several inputs, all arrays by the names of the inputs, `x` being the first; empty where
            `x` alone is what a model is fed.

    Raises:
        DataError: There are no samples, the lengths differ, or a type or rank is none of the above.
    """

    x: Samples
    y: Targets
    named: Mapping[str, Samples] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, x in {"": self.x, **self.named}.items():
            of = f" of {name!r}" if name else ""
            if x.dtype not in (np.uint8, np.float32, np.int64):
                message = f"samples{of} are of type {x.dtype}; they must be uint8, float32 or int64"
                raise DataError(message)
            if x.ndim < (1 if name else 2):
                message = f"samples{of} have the shape {x.shape}; the shape must be (n, features) or (n, C, H, W)"
                raise DataError(message)
            if len(x) != len(self.y):
                message = f"there are {len(x)} samples{of} but {len(self.y)} labels; each sample needs one label"
                raise DataError(message)
            if x.size == 0:
                message = f"samples{of} have the shape {x.shape}; at least one value is needed"
                raise DataError(message)
        integers = np.issubdtype(self.y.dtype, np.integer)
        if not integers and self.y.dtype != np.float32 and not self.y.dtype.names:
            message = (
                f"labels are {self.y.dtype} of the shape {self.y.shape}; they must be integers for classes, or float32"
            )
            raise DataError(message)
        object.__setattr__(self, "x", _read_only(self.x))
        object.__setattr__(self, "y", _read_only(self.y.astype(np.int64, copy=False) if integers else self.y))
        object.__setattr__(self, "named", {name: _read_only(x) for name, x in self.named.items()})

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.y)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample."""
        return tuple(self.x.shape[1:])

    def take(self, indices: Labels) -> Split:
        """Copy some samples, in the order of ``indices`` (integers ``(m,)``), into a split of their own."""
        named = {name: x[indices] for name, x in self.named.items()}
        return Split(next(iter(named.values())) if named else self.x[indices], self.y[indices], named)

    def rows(self, indices: Labels | slice) -> Inputs:
        """The raw samples at some indices; views of a slice, copies else."""
        return {name: x[indices] for name, x in self.named.items()} if self.named else self.x[indices]


def _read_only(array: Samples) -> Samples:
    # A view, so that the caller's own array stays writable.
    view = array.view()
    view.flags.writeable = False
    return view
