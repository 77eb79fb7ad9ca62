"""CIFAR-10 and CIFAR-100: the python version (pickles) and the binary version, unpacked or in the archive."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pysurgeon.data.formats.members import read_members
from pysurgeon.data.formats.safe_pickle import load_pickle
from pysurgeon.data.raw import RawData, numbered, provenance
from pysurgeon.data.split import Split
from pysurgeon.errors import DataError

_PUBLISHED_SIZES = (50_000, 10_000)
_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class CifarVersion:
    """How one version of one set lays out its files.

    Attributes:
        folder: Folder that the archive holds.
        archive: The archive.
        train: Files of the training split, in order.
        test: File of the test split.
        test_md5: Checksum of that file, where it is known.
        names: File with the names of the classes.
        classes: Number of classes.
        key: In pickles: the key of the labels. In binary files: empty.
        names_key: In pickles: the key of the names of the classes.
        label_bytes: In binary files: bytes ahead of the pixels of an image; the last of them is the label.
    """

    folder: str
    archive: str
    train: tuple[str, ...]
    test: str
    names: str
    classes: int
    test_md5: str | None = None
    key: str = ""
    names_key: str = ""
    label_bytes: int = 0


CIFAR10 = (
    CifarVersion(
        folder="cifar-10-batches-py",
        archive="cifar-10-python.tar.gz",
        train=tuple(f"data_batch_{k}" for k in range(1, 6)),
        test="test_batch",
        test_md5="40351d587109b95175f43aff81a1287e",
        names="batches.meta",
        classes=10,
        key="labels",
        names_key="label_names",
    ),
    CifarVersion(
        folder="cifar-10-batches-bin",
        archive="cifar-10-binary.tar.gz",
        train=tuple(f"data_batch_{k}.bin" for k in range(1, 6)),
        test="test_batch.bin",
        names="batches.meta.txt",
        classes=10,
        label_bytes=1,
    ),
)

CIFAR100 = (
    CifarVersion(
        folder="cifar-100-python",
        archive="cifar-100-python.tar.gz",
        train=("train",),
        test="test",
        test_md5="f0ef6b0ae62326f3e7ffdfab6717acfc",
        names="meta",
        classes=100,
        key="fine_labels",
        names_key="fine_label_names",
    ),
    CifarVersion(
        folder="cifar-100-binary",
        archive="cifar-100-binary.tar.gz",
        train=("train.bin",),
        test="test.bin",
        names="fine_label_names.txt",
        classes=100,
        label_bytes=2,
    ),
)


def read_cifar10(folder: Path) -> RawData:
    """Read CIFAR-10 from the folder of its batches or of its archive.

    Raises:
        DataError: A file is missing, truncated, of another format, or a pickle that names what it need not.
    """
    return _read(folder, CIFAR10)


def read_cifar100(folder: Path) -> RawData:
    """Read CIFAR-100 with its 100 fine classes from the folder of its files or of its archive.

    Raises:
        DataError: A file is missing, truncated, of another format, or a pickle that names what it need not.
    """
    return _read(folder, CIFAR100)


def _read(folder: Path, versions: tuple[CifarVersion, ...]) -> RawData:
    version, source = _choose(folder, versions)
    files = read_members(source, (*version.train, version.test), (version.names,))
    train = _join([_read_batch(files[name], version, f"{source}/{name}") for name in version.train])
    test = _read_batch(files[version.test], version, f"{source}/{version.test}")
    matches = None
    if version.test_md5 is not None:
        matches = hashlib.md5(files[version.test], usedforsecurity=False).hexdigest() == version.test_md5
    classes = _class_names(files.get(version.names), version, f"{source}/{version.names}")
    return RawData(train, test, None, classes, provenance(train, test, _PUBLISHED_SIZES, matches))


def _choose(folder: Path, versions: tuple[CifarVersion, ...]) -> tuple[CifarVersion, Path]:
    # Unpacked files before archives: reading these takes a second longer.
    for version in versions:
        for source in (folder / version.folder, folder):
            if (source / version.test).is_file():
                return version, source
    for version in versions:
        if (folder / version.archive).is_file():
            return version, folder / version.archive
    expected = " or ".join(f"{version.folder} (or {version.archive})" for version in versions)
    message = f"{folder} holds no complete set: expected {expected}"
    raise DataError(message)


def _read_batch(content: bytes, version: CifarVersion, origin: str) -> Split:
    if version.key:
        batch = load_pickle(content, origin)
        pixels, labels = batch.get("data"), batch.get(version.key)
        if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (_PIXELS,):
            message = f"{origin} has no 'data' of bytes (n, {_PIXELS}), so it is no batch of images"
            raise DataError(message)
        return Split(pixels.reshape(-1, 3, 32, 32), _integers(labels, len(pixels), version.key, origin))
    row = version.label_bytes + _PIXELS
    if not content or len(content) % row:
        message = f"{origin} has {len(content):,} bytes, no multiple of the {row:,} of an image; it is truncated"
        raise DataError(message)
    rows = np.frombuffer(content, np.uint8).reshape(-1, row)
    return Split(
        rows[:, version.label_bytes :].reshape(-1, 3, 32, 32), rows[:, version.label_bytes - 1].astype(np.int64)
    )


def _integers(labels: Any, count: int, key: str, origin: str) -> Any:
    if isinstance(labels, list) and all(type(label) is int and 0 <= label < 256 for label in labels):
        labels = np.array(labels, np.int64)
    if not isinstance(labels, np.ndarray) or labels.shape != (count,):
        message = f"{origin} has no '{key}' of {count} small integers, one for each image"
        raise DataError(message)
    return labels


def _join(batches: list[Split]) -> Split:
    if len(batches) == 1:
        return batches[0]
    return Split(np.concatenate([batch.x for batch in batches]), np.concatenate([batch.y for batch in batches]))


def _class_names(content: bytes | None, version: CifarVersion, origin: str) -> tuple[str, ...]:
    """The names that the set's own file gives, else the numbers of the classes."""
    if content is None:
        return numbered(version.classes)
    names: Any = load_pickle(content, origin).get(version.names_key) if version.key else content.split()
    well_formed = isinstance(names, list) and all(isinstance(name, bytes | str) for name in names)
    if not well_formed or len(names) != version.classes:
        message = f"{origin} does not name {version.classes} classes; remove it to have them numbered"
        raise DataError(message)
    return tuple(name.decode("utf-8", "replace") if isinstance(name, bytes) else name for name in names)
