"""The IDX format of MNIST and Fashion-MNIST, compressed or not.

Two zero bytes, the element type (8 is uint8), the rank, each size as a big-endian 32-bit integer, the elements.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pysurgeon.data.raw import RawData, numbered, provenance
from pysurgeon.data.split import Split
from pysurgeon.errors import DataError

IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

_PUBLISHED_SIZES = (60_000, 10_000)

_FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def read_mnist(folder: Path) -> RawData:
    """Read MNIST from the folder of its four files.

    Raises:
        DataError: A file is missing, truncated or of another format.
    """
    return _read(folder, numbered(10))


def read_fashion_mnist(folder: Path) -> RawData:
    """Read Fashion-MNIST from the folder of its four files.

    Raises:
        DataError: A file is missing, truncated or of another format.
    """
    return _read(folder, _FASHION_CLASSES)


def _read(folder: Path, classes: tuple[str, ...]) -> RawData:
    train_x, train_y, test_x, test_y = (
        _read_idx(folder, name, rank) for name, rank in zip(IDX_FILES, (3, 1, 3, 1), strict=True)
    )
    train, test = (Split(x[:, None], y.astype(np.int64)) for x, y in ((train_x, train_y), (test_x, test_y)))
    return RawData(train, test, None, classes, provenance(train, test, _PUBLISHED_SIZES))


def _read_idx(folder: Path, name: str, rank: int) -> npt.NDArray[np.uint8]:
    path = next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
    if path is None:
        message = f"{folder} has neither {name} nor {name}.gz; all four files of the set must lie there"
        raise DataError(message)
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        message = f"{path} cannot be read ({error}); it is damaged or truncated, so fetch it again"
        raise DataError(message) from error
    header = 4 + 4 * rank
    if len(content) < header or content[:4] != bytes((0, 0, 8, rank)):
        message = f"{path} is no IDX file of bytes with rank {rank}: it starts with {content[:4].hex(' ') or 'nothing'}"
        raise DataError(message)
    shape = struct.unpack(f">{rank}I", content[4:header])
    if len(content) - header != math.prod(shape):
        message = (
            f"{path} holds {len(content) - header:,} values but announces {math.prod(shape):,}, {shape}; "
            "it is truncated, so fetch it again"
        )
        raise DataError(message)
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
