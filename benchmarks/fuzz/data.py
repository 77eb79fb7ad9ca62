"""Data files of every format that is read, changed in their bytes and in what their headers say."""

from __future__ import annotations

import gzip
import io
import pickle
import random
import shutil
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.fuzz.changes import NUMBERS
from pysurgeon.data import load
from pysurgeon.errors import SurgeonError

_RNG = np.random.default_rng(0)
_IMAGES = _RNG.integers(0, 255, (20, 3, 32, 32)).astype(np.uint8)
_LABELS = np.arange(20) % 10


def _npz(folder: Path) -> str:
    np.savez(
        folder / "d.npz", x_train=_IMAGES[:, 0, :8, :8], y_train=_LABELS, classes=np.array([str(k) for k in range(10)])
    )
    return str(folder / "d.npz")


def _small_npz(folder: Path) -> str:
    np.savez_compressed(
        folder / "d.npz",
        x_train=_IMAGES[:, 0, 0].astype(np.float32),
        y_train=_LABELS.astype(np.float32),
        task="regression",
    )
    return str(folder / "d.npz")


def _mnist(folder: Path) -> str:
    (folder / "mnist").mkdir()
    for part in ("train", "t10k"):
        images = b"\0\0\x08\x03" + struct.pack(">3I", 20, 28, 28) + _RNG.bytes(20 * 28 * 28)
        labels = b"\0\0\x08\x01" + struct.pack(">I", 20) + bytes(_LABELS.astype(np.uint8))
        (folder / "mnist" / f"{part}-images-idx3-ubyte").write_bytes(images)
        (folder / "mnist" / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels))
    return "mnist"


def _cifar(folder: Path) -> str:
    (folder / "cifar-10-batches-py").mkdir()
    for k, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
        batch = {b"data": _IMAGES.reshape(20, -1), b"labels": [int(v) for v in _LABELS]}
        (folder / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(batch, protocol=k % 5))
    return "cifar10"


def _cifar_archive(folder: Path) -> str:
    row = b"".join(bytes([int(y)]) + x.tobytes() for x, y in zip(_IMAGES, _LABELS, strict=True))
    with tarfile.open(folder / "cifar-10-binary.tar.gz", "w:gz") as archive:
        for name in [*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]:
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(row)
            archive.addfile(info, io.BytesIO(row))
    return "cifar10"


def _svhn(folder: Path) -> str:
    from scipy.io import savemat

    (folder / "svhn").mkdir()
    for name in ("train_32x32.mat", "test_32x32.mat"):
        savemat(
            folder / "svhn" / name,
            {"X": _IMAGES.transpose(2, 3, 1, 0), "y": _LABELS[:, None] + 1},
            do_compression=name[1] == "e",
        )
    return "svhn"


def _images(folder: Path) -> str:
    from PIL import Image

    for k, suffix in enumerate(("png", "jpg", "bmp", "gif", "tif", "webp", "ppm", "png")):
        place = folder / "pictures" / f"class{k % 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_IMAGES[k].transpose(1, 2, 0)).save(place / f"{k}.{suffix}")
    return f"folder:{folder / 'pictures'}"


_SETS: tuple[Callable[[Path], str], ...] = (_npz, _small_npz, _mnist, _cifar, _cifar_archive, _svhn, _images)


class DataFiles:
    """See `benchmarks.fuzz.worker.Kind`."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pysurgeon-fuzz-")
        self._root = Path(self._folder.name)
        self._made: list[tuple[Path, str]] = []
        for make in _SETS:
            place = self._root / make.__name__
            place.mkdir()
            self._made.append((place, make(place)))

    def run(self, seed: int, number: int) -> str:
        """See `benchmarks.fuzz.worker.Kind`."""
        rng = random.Random(f"{seed} {number}")  # noqa: S311 (nothing is secret)
        original, source = rng.choice(self._made)
        folder = self._root / "case"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(original, folder)
        path = rng.choice(sorted(p for p in folder.rglob("*") if p.is_file()))
        path.write_bytes(_changed(path.read_bytes(), path.suffix, rng))
        try:
            load(source.replace(str(original), str(folder)), data_dir=folder)
        except SurgeonError as error:
            return type(error).__name__
        return "ok"


def _changed(content: bytes, suffix: str, rng: random.Random) -> bytes:
    """Bytes changed, of packed files also inside."""
    way = rng.random()
    if suffix == ".gz" and way < 0.5:
        return gzip.compress(_bytes(gzip.decompress(content), rng))
    if suffix == ".npz" and way < 0.6:
        return _repacked(content, rng)
    return _bytes(content, rng)


def _repacked(content: bytes, rng: random.Random) -> bytes:
    """An archive whose members say other shapes, types and orders of themselves, or have other names."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(stream, "w") as after:
        chosen = rng.choice(before.namelist())
        for name in before.namelist():
            member = before.read(name)
            if name == chosen:
                ways: tuple[tuple[bytes, bytes], ...] = (
                    (b"(20,", f"({rng.choice(NUMBERS)},".encode()),
                    (
                        b"'<i8'",
                        rng.choice((b"'|O'", b"'<f8'", b"'<U9'", b"'<c8'", b"'<M8[s]'", b"'|b1'", b"[('a','<i4')]")),
                    ),
                    (b"'|u1'", rng.choice((b"'<f4'", b"'<i2'", b"'|S3'", b"'<f2'", b"'|V1'"))),
                    (b"False", b"True"),
                    (b"8, 8", rng.choice((b"8, 1", b"0, 8", b"64", b"8, 8, 1", b"-8, 8"))),
                )
                old, new = rng.choice(ways)
                member = _bytes(member, rng) if rng.random() < 0.3 else _header(member, old, new)
                name = rng.choice((name, name, name, "y_test.npy", "task.npy", "x_val.npy", "../up.npy"))
            after.writestr(name, member)
    return stream.getvalue()


def _header(member: bytes, old: bytes, new: bytes) -> bytes:
    """The member of an archive with another header, of the right length."""
    size = struct.unpack("<H", member[8:10])[0]
    header = member[10 : 10 + size].replace(old, new)
    return member[:8] + struct.pack("<H", len(header)) + header + member[10 + size :]


def _bytes(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        if not changed:
            break
        # Headers stand at the beginning or at the end.
        place = rng.choice(
            (
                rng.randrange(min(512, len(changed))),
                rng.randrange(len(changed)),
                len(changed) - 1 - rng.randrange(min(128, len(changed))),
            )
        )
        way = rng.randrange(5)
        if way == 0:
            changed[place] = rng.randrange(256)
        elif way == 1:
            changed[place] ^= 1 << rng.randrange(8)
        elif way == 2:
            changed[place : place + 4] = struct.pack(
                rng.choice("<>") + "I", rng.choice((0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**28))
            )
        elif way == 3:
            del changed[place : place + rng.randrange(1, 64)]
        else:
            changed[place:place] = rng.randbytes(rng.randrange(1, 16))
    return bytes(changed[: rng.randrange(len(changed) + 1)]) if rng.random() < 0.05 else bytes(changed)
