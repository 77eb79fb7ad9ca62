"""Arrays for loops that go through all of a network's parameters."""

from __future__ import annotations

import numpy as np

from pysurgeon.graph import Array

_LINE = 64  # bytes of a cache line


def aligned(array: Array) -> Array:
    """A copy that begins at a cache line, as vector instructions like it best."""
    memory = np.empty(array.nbytes + _LINE, np.uint8)
    start = -memory.ctypes.data % _LINE
    copy: Array = memory[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
