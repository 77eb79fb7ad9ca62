"""Data that cannot be used is refused with the reason."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from starts import cnn, mlp

from tests.cli.commands import IMAGES, LABELS, Command, complains, put


def test_data_of_another_shape_is_told_with_both_shapes(command: Command, start: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x_train=np.ones((60, 5), np.float32), y_train=np.arange(60) % 10)
    for arguments in (("recommend", start), ("evolve", start, "--run", "run"), ("train", start, "-o", "out.onnx")):
        complains(command(*arguments, "--data", tmp_path / "rows.npz"), 1, "(5,)", "(any, 1, 8, 8)")
    assert not (tmp_path / "run").exists()


def test_another_number_of_classes_is_told(command: Command, tmp_path: Path) -> None:
    path = put(tmp_path / "seven.onnx", mlp((6,), classes=7))
    complains(command("recommend", path, "--data", "digits"), 1, "10 classes", "7")


@pytest.mark.parametrize("name", ["cifar", "Digits", "", "digits "])
def test_an_unknown_data_set_lists_the_known_ones(command: Command, start: Path, name: str) -> None:
    known = (
        "digits",
        "mnist",
        "fashion-mnist",
        "cifar10",
        "cifar100",
        "svhn",
        "folder:DIR",
        "FILE.npz",
        "FILE.csv",
        "module:function",
    )
    complains(command("recommend", start, "--data", name), 1, *known)


HOLED = np.where(np.arange(IMAGES.size).reshape(IMAGES.shape) == 200, np.nan, IMAGES)

WRONG_ARRAYS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "beyond": ({"x_train": IMAGES, "y_train": LABELS, "x_val": IMAGES, "y_val": LABELS + 4}, ("label 10", "0..9")),
    "negative": ({"x_train": IMAGES, "y_train": LABELS - 1}, ("label -1",)),
    "far": ({"x_train": IMAGES, "y_train": LABELS * 10**6}, ("number the classes from 0",)),
    "fractions": ({"x_train": IMAGES, "y_train": LABELS + 0.5}, ("numbers to predict", "(batch)")),
    "words": (
        {
            "x_train": IMAGES,
            "y_train": np.array(list("abcdefghij"))[LABELS],
            "x_val": IMAGES[:2],
            "y_val": np.array(["a", "k"]),
        },
        ("y_val", "'k'"),
    ),
    "one-hot": ({"x_train": IMAGES, "y_train": np.eye(10)[LABELS]}, ("argmax",)),
    "holes": ({"x_train": HOLED, "y_train": LABELS}, ("nan", "index 3")),
    "infinite": ({"x_train": np.full_like(IMAGES, np.inf), "y_train": LABELS}, ("inf",)),
    "keys": ({"images": IMAGES, "labels": LABELS}, ("x_train", "images")),
    "half": ({"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES}, ("x_test", "y_test")),
    "lengths": ({"x_train": IMAGES, "y_train": LABELS[:50]}, ("60", "50")),
    "nothing": ({}, ("x_train",)),
    "none": ({"x_train": IMAGES[:0], "y_train": LABELS[:0]}, ("0 samples",)),
    "single": ({"x_train": IMAGES, "y_train": LABELS * 0}, ("1 class",)),
}


@pytest.mark.parametrize("what", WRONG_ARRAYS)
def test_arrays_that_cannot_be_used_are_refused(command: Command, start: Path, tmp_path: Path, what: str) -> None:
    arrays, words = WRONG_ARRAYS[what]
    np.savez(tmp_path / "data.npz", **arrays)
    complains(command("recommend", start, "--data", tmp_path / "data.npz"), 1, *words)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04" + bytes(50)])
def test_an_archive_that_is_none_is_refused(command: Command, start: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.npz").write_bytes(content)
    complains(command("recommend", start, "--data", tmp_path / "data.npz"), 1, "data.npz", "numpy.savez")


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("missing.npz", "missing.npz is missing"),
        ("folder:missing", "missing is no folder"),
        ("no_such_module:function", "no_such_module"),
        ("os:getcwd", "mapping"),
        ("mnist", "train-images-idx3-ubyte"),
    ],
)
def test_data_that_is_not_there_is_told(
    command: Command, start: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, word: str
) -> None:
    import socket

    def offline(*_: object, **__: object) -> None:
        message = "no network here"
        raise OSError(message)

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    monkeypatch.setenv("PYSURGEON_DATA", str(tmp_path))
    complains(command("recommend", start, "--data", name), 1, word)


def test_arrays_of_other_names_are_to_be_renamed(command: Command, start: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", P=IMAGES, Q=LABELS)
    complains(command("recommend", start, "--data", tmp_path / "data.npz"), 1, "has P, Q", "the samples x_train")


def test_photos_of_many_sizes(command: Command, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label, k in itertools.product(range(10), range(8)):
        path = tmp_path / "photos" / str(label) / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, rng.integers(5, 30, 2), np.uint8)).save(path)
    start, data = put(tmp_path / "start.onnx", cnn()), ("--data", "folder:photos")
    note = "1x8x8 uint8; images resized to 8x8, as the model wants; no test part"
    quick = (*data, "--steps", "4", "--batch-size", "16")
    assert "it fits" in command("doctor", start, *data).out
    assert note in command("recommend", start, *data).err
    assert command("apply", start, "narrow:conv1=2", *data).status == 0
    assert note in command("train", start, *quick, "-o", "trained.onnx").err
    evolved = command("evolve", start, *quick, "--generations", "1", "--branches", "1", "--run", "run")
    assert note in evolved.err
    assert note in command("resume", "run").err
    assert "Test accuracy" in command("compare", start, "trained.onnx", *data).out
    open_size = cnn()
    for axis in (2, 3):
        open_size.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = "HW"[axis - 2]
    anything = put(tmp_path / "open.onnx", open_size)
    complains(command("train", anything, *quick, "-o", "out.onnx"), 1, "pixels", "export the model with a fixed height")
    nine = cnn()
    for axis in (2, 3):
        nine.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 9
    other = put(tmp_path / "nine.onnx", nine)
    complains(command("compare", start, other, *data), 1, "different sizes (height x width): 8x8 and 9x9")


def test_numbers_to_predict_are_called_by_their_metric(command: Command, tmp_path: Path) -> None:
    path = put(tmp_path / "numbers.onnx", mlp((6,), classes=3))
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x_train=IMAGES, y_train=rng.standard_normal((60, 3)).astype(np.float32))
    data = ("--data", tmp_path / "data.npz")
    assert "Test R²" in command("compare", path, path, *data).out
    assert command("compare", path, path, *data, "--json").document["metric"] == "R²"
    recommended = command("recommend", path, *data)
    assert "validation R²" in recommended.err
    assert "3 numbers to predict" in recommended.err
    assert "points of R²" in recommended.out
    assert "accuracy" not in recommended.out + recommended.err
    out = tmp_path / "out.onnx"
    assert command("train", path, *data, "--steps", "2", "-o", out).status == 0
    assert [entry.key for entry in onnx.load(out).metadata_props] == ["pysurgeon.input", "pysurgeon.run"]
