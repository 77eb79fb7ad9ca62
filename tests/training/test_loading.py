"""Data that is read for a model: images of a folder get the size that its input has."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from starts import cnn, model, text_model

import pysurgeon as ps
from pysurgeon.data import Dataset, ImageSize, load
from pysurgeon.errors import DataError
from pysurgeon.evolution import EvolveSettings, begin, load_data
from pysurgeon.graph import Array
from pysurgeon.model import Model
from pysurgeon.training import as_expected, fit_input
from pysurgeon.training.task.loading import load_for

PARTS = ("train", "val", "test")
CLASSES = ("ant", "bee")


def pooling(*sample: int | str, channels: int, batch: int | str = "N") -> Model:
    """A model of the means of the channels, for input of this shape."""
    axes = [2, 3] if sample[0] == channels else [1, 2]
    dims = ", ".join(map(str, (batch, *sample)))
    lines = [f"m = ReduceMean <axes = {axes}, keepdims = 0> (x)", "y = MatMul (m, w)"]
    signature = f"pooling (float[{dims}] x) => (float[{batch}, 2] y)"
    return model(text_model(signature, lines, {"w": np.random.default_rng(0).standard_normal((channels, 2))}))


def flat(values: int) -> Model:
    lines = ["y = MatMul (x, w)"]
    return model(text_model(f"flat (float[N, {values}] x) => (float[N, 2] y)", lines, {"w": np.ones((values, 2))}))


def photos(folder: Path, sizes: list[ImageSize], channels: int, *, mixed: bool = False) -> dict[str, list[Path]]:
    """The same sizes in every class of every part, random pixels; the files in the order in which they are read."""
    rng = np.random.default_rng(0)
    files: dict[str, list[Path]] = {}
    for part, name, (k, size) in itertools.product(PARTS, CLASSES, enumerate(sizes)):
        path = folder / part / name / f"{k:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        grey = channels == 1 or (mixed and k > 0)
        Image.fromarray(rng.integers(0, 256, size if grey else (*size, 3), np.uint8)).save(path)
        files.setdefault(part, []).append(path)
    return files


def pixels(path: Path, channels: int, size: ImageSize) -> Array:
    with Image.open(path) as image:
        coloured = image.convert("L" if channels == 1 else "RGB")
        if (image.height, image.width) != size:
            coloured = coloured.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        return np.atleast_3d(np.asarray(coloured)).transpose(2, 0, 1)


def same(a: Dataset, b: Dataset) -> bool:
    splits = zip((a.train, a.validation, a.test), (b.train, b.validation, b.test), strict=True)
    alike = all(np.array_equal(x.x, y.x) and np.array_equal(x.y, y.y) for x, y in splits)
    return alike and (a.summary(), a.scale) == (b.summary(), b.scale) and np.array_equal(a.mean, b.mean)


lengths = st.integers(2, 12).filter(lambda n: n != 3)  # three would be channels


@settings(max_examples=25, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=3),
    height=lengths,
    width=lengths,
    channels=st.sampled_from([1, 3]),
    last=st.booleans(),
    fitting=st.booleans(),
    mixed=st.booleans(),
)
def test_images_get_the_size_that_the_model_has(
    sizes: list[ImageSize], height: int, width: int, channels: int, last: bool, fitting: bool, mixed: bool
) -> None:
    wanted = (height, width)
    sizes = [wanted] * len(sizes) if fitting else sizes
    network = pooling(*((*wanted, channels) if last else (channels, *wanted)), channels=channels)
    with tempfile.TemporaryDirectory() as folder:
        files = photos(Path(folder), sizes, channels, mixed=mixed)
        name = f"folder:{folder}"
        data, again = load_for(name, network), load_for(name, network)
        for part, split in zip(PARTS, (data.train, data.validation, data.test), strict=True):
            assert split.x.dtype == np.uint8
            np.testing.assert_array_equal(split.x, [pixels(path, channels, wanted) for path in files[part]])
            assert split.y.tolist() == [CLASSES.index(path.parent.name) for path in files[part]]
        assert same(data, again)
        assert fit_input(network, data).inputs[0].arrange == ("channels last" if last else "as is")
        noted = f"images resized to {height}x{width}, as the model wants"
        assert (noted in data.notes) == (noted in data.summary()) == any(size != wanted for size in sizes)
        if set(sizes) == {wanted}:
            assert same(data, as_expected(network, load(name)))


@pytest.mark.parametrize("sample", [(3, "H", "W"), ("H", "W", 3), (3, 8, "W")])
def test_where_the_size_is_open_there_must_be_one(tmp_path: Path, sample: tuple[int | str, ...]) -> None:
    network = pooling(*sample, channels=3)
    photos(tmp_path / "same", [(8, 5)], 3)
    data = load_for(f"folder:{tmp_path / 'same'}", network)
    assert data.sample_shape == (3, 8, 5)
    assert "resized" not in data.summary()
    photos(tmp_path / "different", [(8, 5), (7, 9)], 3)
    with pytest.raises(DataError, match=r"8x5 pixels .* 7x9; resize the images to one size, or export the model with"):
        load_for(f"folder:{tmp_path / 'different'}", network)


def test_only_images_are_resized(tmp_path: Path) -> None:
    """A model that takes rows gets them laid flat, as ever, or says that they do not fit."""
    photos(tmp_path, [(4, 6)], 1)
    name = f"folder:{tmp_path}"
    row = model(
        text_model(
            "row (float[N, 1, 1, 24] x) => (float[N, 2] y)",
            ["f = Flatten (x)", "y = MatMul (f, w)"],
            {"w": np.ones((24, 2))},
        )
    )
    for network in (flat(24), row):
        data = load_for(name, network)
        assert data.sample_shape == (1, 4, 6)
        assert same(data, as_expected(network, load(name)))
    with pytest.raises(DataError, match=r"shape \(1, 4, 6\), and input 'x' of the model takes \(any, 25\)"):
        load_for(name, flat(25))


@pytest.mark.parametrize("sizes", [[(8, 8)], [(9, 5), (7, 8)]])
def test_channels_are_not_made_up(tmp_path: Path, sizes: list[ImageSize]) -> None:
    photos(tmp_path, sizes, 3)
    with pytest.raises(DataError, match=r"have 3 channels, and input 'x' of the model takes \(any, 1, 8, 8\)"):
        load_for(f"folder:{tmp_path}", pooling(1, 8, 8, channels=1))


def test_models_that_are_compared_agree(tmp_path: Path) -> None:
    photos(tmp_path / "one", [(8, 8)], 3)
    photos(tmp_path / "two", [(9, 5), (7, 8)], 3)
    one, two = (f"folder:{tmp_path / name}" for name in ("one", "two"))
    small, last, large = pooling(3, 8, 8, channels=3), pooling(8, 8, 3, channels=3), pooling(3, 16, 9, channels=3)
    unsaid = pooling(3, "H", "W", channels=3)
    for models in ((small, last), (small, unsaid), (unsaid, small)):
        assert load_for(two, *models).sample_shape == (3, 8, 8)
        assert "resized" not in load_for(one, *models).summary()
    found = ps.compare(small, last, load_for(two, small, last))
    assert found.max_error < 1e-5
    for name, models in itertools.product((one, two), ((small, large), (large, small), (small, unsaid, large))):
        with pytest.raises(DataError, match=r"different sizes \(height x width\): 8x8 and 16x9; only models"):
            load_for(name, *models)
    with pytest.raises(DataError, match="resize the images"):
        load_for(two, unsaid, unsaid)


@pytest.mark.parametrize("batch", [1, "N"])
def test_a_run_goes_on_with_the_same_images(tmp_path: Path, batch: int | str) -> None:
    """Its start is written down freed of the batch size; the size of its images must not change by that."""
    photos(tmp_path / "photos", [(9, 5), (7, 8), (8, 6)], 3)
    network = pooling(8, 6, 3, channels=3, batch=batch)
    chosen = EvolveSettings(data=f"folder:{tmp_path / 'photos'}", steps=2, epochs=None)
    before = load_data(chosen, network)
    journal = begin(network, chosen, tmp_path / "run")
    assert before.sample_shape == (3, 8, 6)
    assert same(before, load_data(chosen, ps.load(journal.start)))


def test_functions_take_the_name(tmp_path: Path) -> None:
    sizes = [(9 + k, 5 + 2 * k) for k in range(10)]
    for path in itertools.chain(*photos(tmp_path, sizes, 1).values()):
        for k in range(8):  # the model has ten outputs
            other = path.parent.parent / f"class{k}"
            other.mkdir(exist_ok=True)
            (other / path.name).write_bytes(path.read_bytes())
    network, name = model(cnn()), f"folder:{tmp_path}"
    assert ps.doctor(network, name).trains
    assert ps.recommend(network, name).metric == "accuracy"
    assert ps.apply(network, ps.Widen("conv1", 5), data=name).after.parameters > network.parameter_count()
    assert ps.train(network, data=name, steps=2).steps == 2
