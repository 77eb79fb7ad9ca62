from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from pysurgeon.data.formats.folder import read_folder
from pysurgeon.errors import DataError, UsageError

from .formats import images, split, write_images

NAMES = ("cat", "dog", "emu")


def by_class(part):
    order = np.argsort(part.y, kind="stable")
    return part.x[order], part.y[order]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("validation", ["val", "validation"])
def test_parts_are_read_back_lossless(tmp_path, channels, validation):
    parts = {name: split(9, 3, channels, 6, seed) for seed, name in enumerate(("train", validation, "test"))}
    for name, part in parts.items():
        write_images(tmp_path / name, part, NAMES)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
    raw = read_folder(tmp_path)
    assert raw.classes == NAMES
    for read, name in ((raw.train, "train"), (raw.validation, validation), (raw.test, "test")):
        x, y = by_class(parts[name])
        assert_array_equal(read.x, x)
        assert_array_equal(read.y, y)


def test_class_folders_alone_are_a_training_split(tmp_path):
    part = split(9, 3, size=6)
    write_images(tmp_path, part, NAMES)
    raw = read_folder(tmp_path)
    assert raw.test is None
    assert raw.validation is None
    assert_array_equal(raw.train.x, by_class(part)[0])


def test_one_colour_image_makes_all_of_them_rgb(tmp_path):
    write_images(tmp_path, split(3, 3, 1, 6), NAMES)
    colour = images(1, 3, 6)[0]
    Image.fromarray(colour.transpose(1, 2, 0)).save(tmp_path / "emu" / "9.png")
    x = read_folder(tmp_path).train.x
    assert x.shape == (4, 3, 6, 6)
    assert_array_equal(x[-1], colour)
    assert_array_equal(x[0, 0], x[0, 2])


def test_transparent_palette_is_read_as_its_colours(tmp_path):
    write_images(tmp_path, split(3, 3, 3, 6), NAMES)
    palette = Image.new("P", (6, 6), 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    palette.save(tmp_path / "emu" / "9.png", transparency=bytes([10, 200]))
    assert read_folder(tmp_path).train.x[-1, :, 0, 0].tolist() == [200, 100, 50]


def test_different_sizes_name_two_files_and_can_be_resized(tmp_path):
    write_images(tmp_path, split(3, 3, 3, 6), NAMES)
    Image.new("RGB", (8, 10), (10, 20, 30)).save(tmp_path / "dog" / "z.png")
    with pytest.raises(
        DataError, match=r"cat/0000\.png has 6x6 .* but .*dog/z\.png has 10x8; resize .*size=\(height, width\)"
    ):
        read_folder(tmp_path)
    x = read_folder(tmp_path, size=(4, 5)).train.x
    assert x.shape == (4, 3, 4, 5)
    assert x[2, :, 0, 0].tolist() == [10, 20, 30]


def test_only_images_of_another_size_are_touched_and_noted(tmp_path):
    part = split(6, 3, 3, 6)
    write_images(tmp_path, part, NAMES)
    asked = []

    def wants(channels, sizes):
        asked.append((channels, sizes))
        return 6, 6

    alone = read_folder(tmp_path)
    for size in (wants, (6, 6)):
        told = read_folder(tmp_path, size)
        assert told.notes == ()
        assert_array_equal(told.train.x, alone.train.x)
    wide = np.random.default_rng(1).integers(0, 256, (9, 17, 3), np.uint8)
    Image.fromarray(wide).save(tmp_path / "emu" / "z.png")
    raw = read_folder(tmp_path, wants)
    assert raw.notes == ("images resized to 6x6, as the model wants",)
    assert read_folder(tmp_path, (6, 6)).notes == ("images resized to 6x6",)
    assert_array_equal(raw.train.x[:-1], alone.train.x)
    assert_array_equal(raw.train.x[-1], np.asarray(Image.fromarray(wide).resize((6, 6), 2)).transpose(2, 0, 1))
    assert asked == [(3, {(6, 6)}), (3, {(6, 6), (9, 17)})]


def test_shrinking_averages(tmp_path):
    """Without antialiasing a chessboard would come out as black, white or both."""
    write_images(tmp_path, split(3, 3, 1, 4), NAMES)
    board = (np.indices((64, 48)).sum(axis=0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(tmp_path / "emu" / "z.png")
    shrunk = read_folder(tmp_path, (4, 4)).train.x[-1]
    assert np.abs(shrunk - 127.5).max() < 2


def test_who_leaves_the_size_open_needs_one(tmp_path):
    write_images(tmp_path, split(3, 3, 1, 6), NAMES)
    assert read_folder(tmp_path, lambda *_: None).train.x.shape == (3, 1, 6, 6)
    Image.new("L", (8, 10)).save(tmp_path / "dog" / "z.png")
    with pytest.raises(DataError, match=r"has 6x6 .* has 10x8; resize .*export the model with a fixed height"):
        read_folder(tmp_path, lambda *_: None)


def test_unusable_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match="is no folder"):
        read_folder(tmp_path / "missing")
    with pytest.raises(DataError, match="has no folders"):
        read_folder(tmp_path)
    (tmp_path / "train" / "cat").mkdir(parents=True)
    with pytest.raises(DataError, match="no images in them"):
        read_folder(tmp_path)
    write_images(tmp_path / "train", split(3, 3, 3, 6), NAMES)
    write_images(tmp_path / "test", split(3, 3, 3, 6), ("cat", "cow", "dog"))
    with pytest.raises(DataError, match="has the class 'cow', which"):
        read_folder(tmp_path)
    with pytest.raises(UsageError, match="must be at least 1"):
        read_folder(tmp_path, size=(0, 4))


def test_two_names_of_validation_and_a_missing_train_are_refused(tmp_path):
    write_images(tmp_path / "val", split(3, 3, 3, 6), NAMES)
    with pytest.raises(DataError, match="has val/ but no train/"):
        read_folder(tmp_path)
    write_images(tmp_path / "train", split(3, 3, 3, 6), NAMES)
    (tmp_path / "validation").mkdir()
    with pytest.raises(DataError, match="both val/ and validation/"):
        read_folder(tmp_path)


@pytest.mark.parametrize("keep", [0, 20, 0.6])
def test_damaged_image_is_named(tmp_path, keep):
    write_images(tmp_path, split(3, 3, 3, 30), NAMES)
    path = tmp_path / "dog" / "0001.png"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep) if keep == 0.6 else keep])
    with pytest.raises(DataError, match=r"dog/0001\.png cannot be read as an image"):
        read_folder(tmp_path)


def test_sixteen_bit_image_is_refused(tmp_path):
    write_images(tmp_path, split(3, 3, 1, 6), NAMES)
    Image.fromarray(np.full((6, 6), 40_000, np.uint16)).save(tmp_path / "cat" / "deep.png")
    with pytest.raises(DataError, match=r"deep\.png has pixels of the mode .*convert it to 8 bits"):
        read_folder(tmp_path)
