"""Writes tiny files in the formats of the publishers."""

from __future__ import annotations

import gzip
import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from pysurgeon.data import Split


def images(count: int, channels: int = 3, size: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, channels, size, size), dtype=np.uint8)


def labels(count: int, classes: int = 10) -> np.ndarray:
    return np.arange(count) % classes


def split(count: int, classes: int = 10, channels: int = 3, size: int = 32, seed: int = 0) -> Split:
    return Split(images(count, channels, size, seed), labels(count, classes))


def write_svhn(folder: Path, train: Split, test: Split) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", train), ("test", test)):
        y = np.where(part.y == 0, 10, part.y).astype(np.uint8)[:, None]
        savemat(folder / f"{name}_32x32.mat", {"X": part.x.transpose(2, 3, 1, 0), "y": y}, do_compression=True)


def write_idx(folder: Path, train: Split, test: Split, *, compress: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", train), ("t10k", test)):
        x = part.x[:, 0]
        contents = {
            f"{name}-images-idx3-ubyte": struct.pack(">IIII", 2051, *x.shape) + x.tobytes(),
            f"{name}-labels-idx1-ubyte": struct.pack(">II", 2049, len(x)) + part.y.astype(np.uint8).tobytes(),
        }
        for file, content in contents.items():
            if compress:
                (folder / f"{file}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / file).write_bytes(content)


def python2_batch(x: np.ndarray, y: list[int], key: bytes) -> bytes:
    """The very opcodes by which Python 2 and its NumPy wrote the batches of CIFAR: byte strings throughout."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    def integer(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    rows = x.reshape(len(x), -1)
    content = rows.tobytes()
    dtype = b"cnumpy\ndtype\n(" + text(b"u1") + b"K\x00K\x01tR"
    dtype += b"(K\x03" + text(b"|") + b"NNN" + integer(-1) + integer(-1) + b"K\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t" + text(b"b") + b"tR"
    array += b"(K\x01(" + b"".join(integer(size) for size in rows.shape) + b"t" + dtype
    array += b"\x89T" + struct.pack("<I", len(content)) + content + b"tb"
    listed = b"](" + b"".join(integer(label) for label in y) + b"e"
    return b"\x80\x02}(" + text(b"data") + array + text(key) + listed + b"u."


def python3_batch(x: np.ndarray, y: list[int], key: bytes) -> bytes:
    return pickle.dumps({b"batch_label": b"", key: y, b"data": x.reshape(len(x), -1)}, protocol=2)


def cifar10_python(train: Split, test: Split, batch=python3_batch) -> dict[str, bytes]:
    """Files of the python version by name; the training samples are dealt to the five batches in turn."""
    files = {
        f"data_batch_{k + 1}": batch(train.x[k::5], [int(label) for label in train.y[k::5]], b"labels")
        for k in range(5)
    }
    files["test_batch"] = batch(test.x, [int(label) for label in test.y], b"labels")
    names = [f"name {k}".encode() for k in range(10)]
    files["batches.meta"] = pickle.dumps({b"label_names": names, b"num_vis": 3072}, protocol=2)
    return files


def cifar10_binary(train: Split, test: Split) -> dict[str, bytes]:
    files = {f"data_batch_{k + 1}.bin": _rows(train.x[k::5], train.y[k::5, None]) for k in range(5)}
    files["test_batch.bin"] = _rows(test.x, test.y[:, None])
    files["batches.meta.txt"] = "\n".join(f"name{k}" for k in range(10)).encode() + b"\n\n"
    return files


def cifar100_python(train: Split, test: Split) -> dict[str, bytes]:
    files = {}
    for name, part in (("train", train), ("test", test)):
        batch = {b"coarse_labels": [0] * len(part), b"fine_labels": part.y.tolist(), b"data": part.x.reshape(-1, 3072)}
        files[name] = pickle.dumps(batch, protocol=2)
    files["meta"] = pickle.dumps({b"fine_label_names": [f"fine {k}".encode() for k in range(100)]}, protocol=2)
    return files


def cifar100_binary(train: Split, test: Split) -> dict[str, bytes]:
    return {
        f"{name}.bin": _rows(part.x, np.stack([np.full(len(part), 19), part.y], axis=1))
        for name, part in (("train", train), ("test", test))
    }


def _rows(x: np.ndarray, heads: np.ndarray) -> bytes:
    return np.concatenate([heads.astype(np.uint8), x.reshape(len(x), -1)], axis=1).tobytes()


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def write_archive(path: Path, inner: str, files: dict[str, bytes], scratch: Path) -> None:
    write_files(scratch / inner, files)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        archive.add(scratch / inner, arcname=inner)


def write_images(root: Path, part: Split, names: tuple[str, ...], suffix: str = "png") -> None:
    """One lossless file an image, below class folders, in the order of the split."""
    for index, (x, label) in enumerate(zip(part.x, part.y, strict=True)):
        path = root / names[label] / f"{index:04}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(x[0] if len(x) == 1 else x.transpose(1, 2, 0)).save(path)
