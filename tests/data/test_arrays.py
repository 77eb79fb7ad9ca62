from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from pysurgeon.data import load
from pysurgeon.data.formats.arrays import from_arrays, read_function, read_npz
from pysurgeon.errors import DataError, UsageError

from .formats import images, labels

Y = labels(12, 3)


def test_npz_is_read_back(tmp_path):
    path = tmp_path / "set.npz"
    x = images(12, 3, 5)
    np.savez(path, x_train=x, y_train=Y, x_val=x[:4], y_val=Y[:4], x_test=x[4:], y_test=Y[4:], classes=["a", "b", "c"])
    raw = read_npz(path)
    assert_array_equal(raw.train.x, x)
    assert_array_equal(raw.validation.x, x[:4])
    assert_array_equal(raw.test.y, Y[4:])
    assert raw.classes == ("a", "b", "c")


def test_npz_without_other_parts(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, x_train=np.eye(12), y_train=Y[:, None])
    raw = read_npz(path)
    assert raw.validation is None
    assert raw.test is None
    assert raw.train.x.dtype == np.float32
    assert_array_equal(raw.train.y, Y)
    assert raw.classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("shape", "expected", "moved"),
    [
        ((12, 7), (7,), False),
        ((12, 5, 6), (1, 5, 6), False),
        ((12, 3, 5, 6), (3, 5, 6), False),
        ((12, 5, 6, 3), (3, 5, 6), True),
        ((12, 5, 6, 1), (1, 5, 6), True),
        ((12, 5, 6, 4), (4, 5, 6), True),
        ((12, 3, 6, 3), (3, 6, 3), False),
        ((12, 8, 6, 5), (8, 6, 5), False),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_layouts(shape, expected, moved, dtype):
    x = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    raw = from_arrays({"x_train": x, "y_train": Y}, "set")
    assert raw.train.sample_shape == expected
    assert raw.train.x.dtype == (np.uint8 if dtype == np.uint8 else np.float32)
    assert_array_equal(raw.train.x, x.transpose(0, 3, 1, 2) if moved else x.reshape(12, *expected))
    assert bool(raw.notes) == moved


def test_moved_channels_are_told_in_the_summary(tmp_path):
    np.savez(tmp_path / "set.npz", x_train=images(40, 5, 3), y_train=labels(40, 3))
    data = load(str(tmp_path / "set.npz"))
    assert "channels came last and were moved to the front" in data.summary()
    assert data.sample_shape == (3, 5, 3)


@pytest.mark.parametrize("dtype", [str, object])
def test_words_are_classes(dtype):
    words = np.array(["night", "day", "dusk"], dtype)
    raw = from_arrays({"x_train": images(12), "y_train": words[Y], "x_test": images(3), "y_test": words}, "set")
    assert raw.classes == ("day", "dusk", "night")
    assert [raw.classes[k] for k in raw.train.y] == words[Y].tolist()
    assert raw.test.y.tolist() == [2, 0, 1]
    given = from_arrays({"x_train": images(12), "y_train": words[Y], "classes": words}, "set")
    assert given.classes == ("night", "day", "dusk")
    assert_array_equal(given.train.y, Y)
    digits = from_arrays({"x_train": images(12), "y_train": Y.astype(str)}, "set")
    assert_array_equal(digits.train.y, Y)
    with pytest.raises(DataError, match="y_test of set has the label 'noon', which y_train does not have"):
        from_arrays({"x_train": images(12), "y_train": words[Y], "x_test": images(1), "y_test": ["noon"]}, "set")


def test_floats_that_are_taken_for_classes_are_said():
    assert any("taken for classes" in n for n in from_arrays({"x_train": images(12), "y_train": Y / 1}, "set").notes)
    assert not from_arrays({"x_train": images(12), "y_train": Y}, "set").notes


def test_labels_may_be_whole_floats_or_truth_values():
    for y in (Y.astype(np.float64), (Y > 0), Y.astype(np.uint8)):
        assert_array_equal(from_arrays({"x_train": images(12), "y_train": y}, "set").train.y, y.astype(int))


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({}, "no x_train and no y_train; it has nothing"),
        ({"x_train": images(12), "Y": Y}, "no y_train; it has Y, x_train"),
        ({"x_train": images(12), "y_train": Y, "x_test": images(2)}, "only some of x_test, y_test"),
        ({"x_train": images(12), "y_train": Y[:5]}, "training part of set has 12 samples and 5 labels"),
        ({"x_train": images(0), "y_train": Y[:0]}, "0 samples"),
        ({"x_train": np.zeros((12, 1, 1, 1, 1)), "y_train": Y}, "x_train of set has the shape"),
        ({"x_train": np.zeros(12), "y_train": Y}, "x_train of set has the shape"),
        ({"x_train": np.array([["a"]] * 12), "y_train": Y}, "expected numbers"),
        ({"x_train": np.zeros((12, 2), complex), "y_train": Y}, "expected numbers"),
        ({"x_train": images(12), "y_train": np.eye(12)}, "argmax"),
        ({"x_train": images(12), "y_train": Y + 0.5, "task": "classification"}, "expected class numbers"),
        (
            {"x_train": images(12), "y_train": Y, "task": "ranking"},
            "must be one of classification, multi-label, regres",
        ),
        (
            {"ids_train": images(12), "mask_train": images(12), "y_train": Y, "ids_test": Y, "y_test": Y},
            "only some of ids",
        ),
        ({"x_train": images(12), "y_train": Y + 2000}, "goes up to 2002 with 12 samples"),
        ({"x_train": images(12), "y_train": Y, "classes": "ab"}, "expected the names"),
    ],
)
def test_unusable_arrays_are_refused(arrays, expected):
    with pytest.raises(DataError, match=expected):
        from_arrays(arrays, "set")


def test_values_beyond_float32_are_reported_with_their_place(tmp_path):
    x = np.zeros((40, 2))
    x[23, 1] = 1e300
    np.savez(tmp_path / "set.npz", x_train=x, y_train=labels(40, 2))
    with pytest.raises(DataError, match="value inf in the sample at index 23 of the training part"):
        load(str(tmp_path / "set.npz"))


def test_pickled_objects_in_an_archive_are_refused(tmp_path):
    np.savez(tmp_path / "set.npz", x_train=np.array([{}] * 12, dtype=object), y_train=Y)
    with pytest.raises(DataError, match="archive of plain arrays"):
        read_npz(tmp_path / "set.npz")


def test_missing_and_damaged_archives_are_refused(tmp_path):
    path = tmp_path / "set.npz"
    with pytest.raises(DataError, match="is missing"):
        read_npz(path)
    np.savez_compressed(path, x_train=images(12), y_train=Y)
    content = path.read_bytes()
    for damaged in (b"", content[:50], content[: len(content) // 2], content[:200] + b"\0" * 50 + content[250:]):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="archive of plain arrays"):
            read_npz(path)


MODULE = """
import numpy as np

def good():
    return {"x_train": np.eye(30, 4), "y_train": np.arange(30) % 3}

def wrong():
    return [1, 2]

def failing():
    raise KeyError("inside")
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "made_by_a_test.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return "made_by_a_test"


def test_function_in_the_current_folder_is_called(module):
    raw = read_function(f"{module}:good")
    assert raw.train.sample_shape == (4,)
    assert raw.classes == ("0", "1", "2")
    assert load(f"{module}:good").name == f"{module}:good"


def test_unusable_functions_are_refused(module):
    with pytest.raises(DataError, match=r"returned list; it must return a mapping"):
        read_function(f"{module}:wrong")
    with pytest.raises(DataError, match="KeyError: 'inside'"):
        read_function(f"{module}:failing")
    with pytest.raises(DataError, match=f"the module {module} has no function absent"):
        read_function(f"{module}:absent")
    with pytest.raises(DataError, match="there is no module no_such_module_anywhere in"):
        read_function("no_such_module_anywhere:load")
    with pytest.raises(UsageError, match="write module:function"):
        read_function("module:")


def test_classes_of_places_are_read_and_some_do_not_count():
    y = np.random.default_rng(3).integers(0, 5, (12, 3, 3))
    y[0, 0, 0] = y[5, 1, 2] = 255
    data = load({"x_train": images(12), "y_train": y, "ignore": 255})
    assert (data.task, data.train.y.shape[1:], data.classes) == ("classification", (3, 3), ("0", "1", "2", "3", "4"))
    assert "5 classes at 3x3 places" in data.summary()
    left = np.concatenate([data.train.y, data.validation.y, data.test.y])
    assert (left < 0).sum() == 2
    assert left.max() == 4
    assert load({"x_train": images(12), "y_train": np.where(y == 255, -100, y)}).train.y.min() >= -100


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"y_train": np.full((12, 3), -1)}, "no label at all"),
        ({"y_train": np.full(12, 3), "ignore": 3}, "labels must be of places"),
        ({"y_train": np.zeros((12, 3, 3), int), "ignore": 0.5}, "one integer"),
        (
            {"y_train": np.eye(4, dtype=int)[np.random.default_rng(3).integers(0, 4, 12)]},
            "one-hot rows take the argmax",
        ),
        ({"task": "classification"}, "no y_train"),
        ({"labels": np.zeros(12)}, "no y_train; it has labels, x_train"),
        ({"y_test": np.zeros(12, int), "x_test": images(12)}, "no y_train"),
    ],
)
def test_what_cannot_be_labels_of_places_is_refused(arrays, expected):
    with pytest.raises(DataError, match=expected):
        load({"x_train": images(12), **arrays})


def test_samples_alone_are_split_like_others():
    data = load({"x_train": images(40), "x_val": images(6), "x_test": images(9)})
    assert (data.task, data.classes) == ("unlabelled", ())
    assert [len(part) for part in (data.train, data.validation, data.test)] == [40, 6, 9]
    named = load({"ids_train": np.random.default_rng(3).integers(0, 9, (20, 4)), "scale_train": np.float32(2.0)})
    assert named.train.named.keys() == {"ids", "scale"}
    assert len(named.train) == 13
