from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from pysurgeon.data import Dataset, Split
from pysurgeon.errors import DataError, UsageError

from .formats import images, labels, split


def build(train: Split, validation: Split | None = None, test: Split | None = None, classes: int = 10) -> Dataset:
    names = tuple(str(k) for k in range(classes))
    return Dataset.build("made", train=train, validation=validation or train, test=test or train, classes=names)


def test_label_out_of_range_is_told_with_its_place():
    y = labels(10)
    y[3] = 10
    bad = Split(images(10), y)
    expected = "label 10 at index 3 of the {}; there are 10 classes, so labels must lie in 0..9"
    with pytest.raises(DataError, match=expected.format("training part")):
        build(bad)
    with pytest.raises(DataError, match=expected.format("validation part")):
        build(split(10), validation=bad)
    with pytest.raises(DataError, match=expected.format("test part")):
        build(split(10), test=bad)


def test_negative_label_is_refused():
    with pytest.raises(DataError, match="label -1 at index 2"):
        build(Split(images(3), np.array([0, 1, -1])))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_value_that_is_not_finite_is_told_with_its_place(value):
    x = np.zeros((5, 2), np.float32)
    x[4, 1] = value
    good, bad = Split(np.zeros((5, 2), np.float32), labels(5)), Split(x, labels(5))
    with pytest.raises(DataError, match=f"value {value} in the sample at index 4 of the test part"):
        build(good, test=bad)
    with pytest.raises(DataError, match=f"value {value} in the sample at index 4 of the training part"):
        build(bad)


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (images(3), labels(2), "3 samples but 2 labels"),
        (images(0), labels(0), "at least one value"),
        (np.zeros((3, 0), np.uint8), labels(3), "at least one value"),
        (images(3).astype(float), labels(3), "float64; they must be uint8, float32 or int64"),
        (np.zeros(3, np.uint8), labels(3), "shape"),
        (images(3), labels(3).astype(float), "integers"),
    ],
)
def test_split_refuses_what_does_not_fit(x, y, expected):
    with pytest.raises(DataError, match=expected):
        Split(x, y)


def test_parts_must_be_alike():
    with pytest.raises(DataError, match=r"samples of the validation part are uint8 \(3, 8, 8\)"):
        build(split(10), validation=split(10, size=8))
    with pytest.raises(DataError, match="samples of the test part are float32"):
        build(split(10), test=Split(images(10).astype(np.float32), labels(10)))


def test_one_class_is_no_classification():
    with pytest.raises(DataError, match="at least two"):
        build(Split(images(3), np.zeros(3, int)), classes=1)


def test_normalization_that_does_not_fit_is_refused():
    data = build(split(10))
    with pytest.raises(DataError, match="shapes"):
        replace(data, mean=np.zeros(2, np.float32))
    with pytest.raises(DataError, match="above 0"):
        replace(data, std=np.zeros(3, np.float32))


def test_splits_are_read_only_views_and_the_callers_arrays_stay_writable():
    x, y = images(4), labels(4)
    part = Split(x, y)
    with pytest.raises(ValueError, match="read-only"):
        part.x[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        part.y[0] = 0
    x[0] = 7
    assert (part.x[0] == 7).all()


@pytest.mark.parametrize("batch_size", [1, 3, 5, 10, 1000])
def test_evaluation_goes_through_a_part_once_in_order(batch_size):
    data = build(split(12), validation=split(10, seed=1))
    batches = list(data.evaluation_batches("validation", batch_size))
    assert all(0 < len(x) == len(y) <= batch_size for x, y in batches)
    assert_array_equal(np.concatenate([x for x, _ in batches]), data.normalized(data.validation.x))
    assert_array_equal(np.concatenate([y for _, y in batches]), data.validation.y)


def test_evaluation_batches_belong_to_the_caller():
    data = build(split(12))
    for x, y in data.evaluation_batches("test", 5):
        x[:], y[:] = 0, 0
    assert_array_equal(data.test.y, split(12).y)


def test_evaluation_refuses_at_once_and_not_at_the_first_batch():
    data = build(split(12))
    with pytest.raises(UsageError, match="batch size is 0"):
        data.evaluation_batches("test", 0)
    with pytest.raises(UsageError, match="no part 'valid'"):
        data.evaluation_batches("valid", 8)


def test_summary_is_one_line_with_the_notes():
    data = replace(build(split(1200), validation=split(20), test=split(30)), notes=("first note", "second note"))
    assert data.summary() == (
        "made: 1,200 train / 20 validation / 30 test, 10 classes, 3x32x32 uint8; first note; second note"
    )
