"""Options that say how data is fed to a network, and what of it the labels are of."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from starts import text_model

from pysurgeon.data import PUBLISHED
from pysurgeon.graph import Array
from tests.cli.commands import Command, complains, put

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
QUICK = ("--steps", "10", "--batch-size", "32", "--limit", "200")


@functools.cache
def coloured() -> Mapping[str, Array]:
    """The digits in bytes, in three channels that differ."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x = (found.images * 15).astype(np.uint8)[:, None] // np.array([1, 2, 3], np.uint8).reshape(1, 3, 1, 1)
    return {"x_train": x[:1200], "y_train": found.target[:1200], "x_test": x[1200:], "y_test": found.target[1200:]}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Digits in colours, and a network that was trained on them with the mean and deviation of ImageNet."""
    import pysurgeon as ps
    from pysurgeon.model import from_proto

    folder = tmp_path_factory.mktemp("photos")
    np.savez(folder / "photos.npz", **coloured())
    start = text_model(
        "m (float[N, 3, 8, 8] x) => (float[N, 10] y)",
        ["f = Flatten (x)", "y = Gemm (f, w, b)"],
        {"w": np.zeros((192, 10)), "b": np.zeros(10)},
    )
    done = ps.train(from_proto(start), dict(coloured()), normalize="imagenet", steps=400, lr=1e-2, batch_size=64)
    proto = done.model.to_proto()
    del proto.metadata_props[:]  # as others write it
    return folder / "photos.npz", put(folder / "model.onnx", proto)


def accuracy(command: Command, photos: tuple[Path, Path], *options: str) -> float:
    found: float = command("doctor", photos[1], "--data", photos[0], "--json", *options).document["validation_accuracy"]
    return found


def test_mean_and_deviation_may_be_given_by_name_or_in_numbers(command: Command, photos: tuple[Path, Path]) -> None:
    mean, std = (",".join(map(str, numbers)) for numbers in PUBLISHED["imagenet"])
    own = ("--mean", mean, "--std", std)
    of_bytes = ("--mean", "123.675,116.28,103.53", "--std", "58.395,57.12,57.375")
    known = accuracy(command, photos, "--normalize", "imagenet")
    assert known > 0.8
    assert {accuracy(command, photos, *way) for way in ((), own, of_bytes)} == {known}
    assert accuracy(command, photos, "--normalize", "none") < known
    evaluated = command("compare", photos[1], photos[1], "--data", photos[0], *own, "--json").document
    assert evaluated["a"]["accuracy"] > 0.8


def test_numbers_that_do_not_fit_are_told(command: Command, photos: tuple[Path, Path]) -> None:
    given = ("doctor", photos[1], "--data", photos[0])
    complains(command(*given, "--mean", "0.5,0.5"), 2, "--mean")
    complains(command(*given, "--mean", "a,b,c"), 2, "--mean")
    complains(command(*given, "--std", "0"), 2, "--std")
    complains(command(*given, "--std", "0.5", "--normalize", "half"), 2, "--std", "give one of them")


def test_the_order_of_classes_may_be_given_found_or_proposed(
    command: Command, photos: tuple[Path, Path], tmp_path: Path
) -> None:
    order = sorted(range(10), key=lambda k: NAMES[k])  # as a folder sorts them
    labels = {name: np.argsort(order)[y] for name, y in coloured().items() if name.startswith("y_")}
    np.savez(tmp_path / "words.npz", **{**coloured(), **labels}, classes=[NAMES[k] for k in order])
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    given = (tmp_path / "words.npz", photos[1])
    proposed = command("doctor", given[1], "--data", given[0])
    assert f"with {', '.join(f'{n}={k}' for k, n in enumerate(NAMES))} accuracy would be" in proposed.err
    for classes in (str(tmp_path / "names.txt"), ",".join(NAMES), "match"):
        assert accuracy(command, given, "--classes", classes) > 0.8
    complains(command("doctor", given[1], "--data", given[0], "--classes", "zero,one"), 1, "eight")
    out = tmp_path / "out.onnx"
    command("train", given[1], "--data", given[0], "--classes", "match", *QUICK, "-o", out)
    metadata = {p.key: p.value for p in onnx.load(out).metadata_props}
    assert metadata["pysurgeon.classes"] == str(list(NAMES)).replace("'", '"')


def test_every_command_takes_the_output_that_is_meant(command: Command, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sizes = {"w": (64, 12), "first": (12, 10), "second": (12, 10)}
    start = put(
        tmp_path / "two.onnx",
        text_model(
            "m (float[N, 1, 8, 8] x) => (float[N, 10] a, float[N, 10] b)",
            ["f = Flatten (x)", "h = MatMul (f, w)", "r = Relu (h)", "a = MatMul (r, first)", "b = MatMul (r, second)"],
            {name: rng.standard_normal(size) / 4 for name, size in sizes.items()},
        ),
    )
    data = ("--data", "digits")
    assert (
        "'a', the first of those that they fit (a, b); --output-name takes another"
        in command("doctor", start, *data).err
    )
    meant = (*data, "--output-name", "b")
    assert command("doctor", start, *meant).status == 0
    assert command("recommend", start, *meant).status == 0
    assert command("apply", start, "widen:h=16", *meant).status == 0
    out = tmp_path / "out.onnx"
    command("train", start, *meant, *QUICK, "-o", out)
    before, after = ({t.name: t.raw_data for t in onnx.load(p).graph.initializer} for p in (start, out))
    assert {name for name in before if before[name] != after[name]} == {"w", "second"}
    assert command("evolve", start, *meant, *QUICK, "--generations", "1", "--branches", "1", "--run", "run").status == 0
    assert command("resume", "run").status == 0
    compared = command("compare", start, out, *meant, "--json").document
    assert compared["a"]["accuracy"] != command("compare", start, out, *data, "--json").document["a"]["accuracy"]
    complains(command("train", start, *data, "--output-name", "c", "-o", "x.onnx"), 2, "no output 'c'", "a, b")
