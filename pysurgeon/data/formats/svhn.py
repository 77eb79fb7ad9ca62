"""Street View House Numbers, cropped digits: MATLAB files as their publishers wrote them."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path

import numpy as np

from pysurgeon.apart import ApartError, Helper
from pysurgeon.data.raw import RawData, numbered, provenance
from pysurgeon.data.split import Split
from pysurgeon.errors import DataError

SVHN_FILES = ("train_32x32.mat", "test_32x32.mat")
SVHN_TEST_MD5 = "eb5a983be6a315427106f1b164d9cef3"

_PUBLISHED_SIZES = (73_257, 26_032)


def read_svhn(folder: Path) -> RawData:
    """Read SVHN from the folder of its two files; label 10 of the files is the digit 0.

    Raises:
        DataError: A file is missing, truncated or of another format.
    """
    train, _ = _read_mat(folder / SVHN_FILES[0])
    test, digest = _read_mat(folder / SVHN_FILES[1])
    notes = provenance(train, test, _PUBLISHED_SIZES, digest == SVHN_TEST_MD5)
    return RawData(train, test, None, numbered(10), notes)


# The reader is C++ that believes what a file says of itself; what comes back is NumPy's own format.
_CODE = """
import io
import numpy as np
from scipy.io import loadmat
def answer(path):
    found = loadmat(os.fsdecode(path), variable_names=["X", "y"])
    stream = io.BytesIO()
    np.savez(stream, **{name: np.ascontiguousarray(found[name]) for name in ("X", "y") if name in found})
    return stream.getvalue()
"""


def _read_mat(path: Path) -> tuple[Split, str]:
    """The split in one file and the file's MD5."""
    if not path.is_file():
        message = f"{path} is missing; both {SVHN_FILES[0]} and {SVHN_FILES[1]} must lie there"
        raise DataError(message)
    reader = Helper("the reader of .mat files", _CODE)
    try:
        found = reader.ask(os.fsencode(path.resolve()))
        # Objects would be pickles.
        with np.load(io.BytesIO(found), allow_pickle=False) as archive:
            variables = {name: archive[name] for name in archive.files}
        content = path.read_bytes()
    except (ApartError, OSError, ValueError) as error:
        message = f"{path} cannot be read ({error}); it is damaged or truncated, so fetch it again"
        raise DataError(message) from error
    finally:
        reader.close()
    missing = [name for name in ("X", "y") if name not in variables]
    if missing:
        message = (
            f"{path} has no variable {' and no '.join(missing)}; the cropped digits have X (32, 32, 3, n) and y (n, 1)"
        )
        raise DataError(message)
    images, labels = variables["X"], variables["y"].reshape(-1)
    if (
        labels.dtype.kind not in "uif"
        or images.dtype != np.uint8
        or images.ndim != 4
        or images.shape[2] != 3
        or images.shape[3] != len(labels)
    ):
        message = (
            f"{path} has X {images.dtype} {images.shape} and {len(labels)} labels of {labels.dtype}; "
            "the cropped digits have X uint8 (32, 32, 3, n) and n labels"
        )
        raise DataError(message)
    labels = labels.astype(np.int64)
    split = Split(np.ascontiguousarray(images.transpose(3, 2, 0, 1)), np.where(labels == 10, 0, labels))
    return split, hashlib.md5(content, usedforsecurity=False).hexdigest()
