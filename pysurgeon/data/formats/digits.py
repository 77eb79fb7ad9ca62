"""The small digits that scikit-learn ships: always there, without any file or network."""

from __future__ import annotations

import numpy as np

from pysurgeon.data.raw import RawData, numbered
from pysurgeon.data.split import Split


def read_digits() -> RawData:
    """Read the 1,797 digits of 8x8 grey pixels.

    Their values 0..16 are stretched to bytes 0..255 (rounded), so that they take the path of every other image set.
    They have no split of their own.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    pixels = np.rint(images * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    return RawData(Split(pixels, labels), None, None, numbered(10))
