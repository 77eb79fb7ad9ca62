from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from pysurgeon.data import load
from pysurgeon.errors import DataError, UsageError

from .formats import (
    cifar10_python,
    cifar100_binary,
    labels,
    split,
    write_files,
    write_idx,
    write_images,
    write_svhn,
)


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    """A data file in which every sample holds its own index; the classes are of different sizes."""
    path = tmp_path_factory.mktemp("npz") / "set.npz"
    y = np.repeat([0, 1, 2], [120, 60, 20])
    np.savez(
        path, x_train=np.arange(200.0)[:, None], y_train=y, x_test=np.arange(1000.0, 1040.0)[:, None], y_test=y[:40]
    )
    return str(path)


def indices(part):
    return part.x[:, 0].astype(int)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(seed=st.integers(0, 2**40), validation=st.floats(0.01, 0.9), limit=st.none() | st.integers(10, 300))
def test_parts_are_disjoint_stratified_and_the_test_split_is_whole(indexed, seed, validation, limit):
    data = load(indexed, seed=seed, validation=validation, limit=limit)
    again = load(indexed, seed=seed, validation=validation, limit=limit)
    train, held_out = indices(data.train), indices(data.validation)
    total = min(limit or 200, 200)
    assert len(train) + len(held_out) == len({*train, *held_out}) == total
    assert len(held_out) == max(1, round(validation * total))
    assert_array_equal(indices(data.test), np.arange(1000, 1040))
    assert_array_equal(train, indices(again.train))
    assert_array_equal(held_out, indices(again.validation))
    for part in (data.train, data.validation):
        for label, share in enumerate((0.6, 0.3, 0.1)):
            assert abs((part.y == label).sum() - share * len(part)) <= 3


def test_seed_decides_the_validation_part(indexed):
    first, other = (load(indexed, seed=seed) for seed in (0, 1))
    assert set(indices(first.validation)) != set(indices(other.validation))


def test_smaller_limits_keep_a_part_of_what_larger_ones_keep(indexed):
    kept = []
    for limit in (20, 50, 120, None):
        data = load(indexed, seed=4, limit=limit)
        kept.append({*indices(data.train), *indices(data.validation)})
    assert kept[0] < kept[1] < kept[2] < kept[3]


def test_publishers_validation_is_kept(tmp_path):
    x = np.arange(60.0)[:, None]
    y = labels(60, 2)
    np.savez(tmp_path / "s.npz", x_train=x[:40], y_train=y[:40], x_val=x[40:], y_val=y[40:])
    data = load(str(tmp_path / "s.npz"), validation=0.5, limit=20)
    assert_array_equal(indices(data.validation), np.arange(40, 60))
    assert len(data.train) == 20
    assert len(data.test) == 10


def test_digits_are_always_there_and_their_test_part_never_changes():
    first, other = load("digits", seed=0), load("digits", seed=1, limit=300, normalize="unit")
    assert first.train.x.dtype == np.uint8
    assert first.sample_shape == (1, 8, 8)
    assert (first.train.x.min(), first.train.x.max()) == (0, 255)
    assert len(first.train) + len(first.validation) + len(first.test) == 1797
    assert len(first.test) == 449
    assert_array_equal(first.test.x, other.test.x)
    assert len(other.train) + len(other.validation) == 300
    assert np.ptp(np.bincount(first.test.y)) <= 5
    assert "a fixed stratified quarter" in first.summary()


def test_published_sets_are_loaded_by_name(tmp_path):
    grey = split(30, channels=1, size=28)
    write_svhn(tmp_path / "svhn", split(30), split(10))
    write_files(tmp_path / "cifar-10-batches-py", cifar10_python(split(50), split(10)))
    write_files(tmp_path / "cifar-100-binary", cifar100_binary(split(200, 100), split(100, 100)))
    write_idx(tmp_path / "mnist", grey, grey, compress=True)
    write_idx(tmp_path / "fashion-mnist", grey, grey, compress=False)
    for name, count, classes in (
        ("svhn", 30, 10),
        ("cifar10", 50, 10),
        ("cifar100", 200, 100),
        ("mnist", 30, 10),
        ("fashion-mnist", 30, 10),
    ):
        data = load(name, data_dir=tmp_path)
        assert data.name == name
        assert (len(data.train), len(data.validation)) == (count * 9 // 10, count // 10)
        assert len(data.classes) == classes
        assert "not the publishers' files" in data.summary()


def test_label_out_of_range_in_a_file_is_refused(tmp_path):
    files = cifar10_python(split(50), split(20, classes=11))
    write_files(tmp_path, files)
    with pytest.raises(DataError, match="label 10 at index 10 of the test part; there are 10 classes"):
        load("cifar10", data_dir=tmp_path)
    write_files(tmp_path, cifar10_python(split(55, classes=11), split(20)))
    with pytest.raises(DataError, match="label 10 at index 2 of the training part"):
        load("cifar10", data_dir=tmp_path)


def test_folder_is_split_and_resized(tmp_path):
    write_images(tmp_path, split(40, 2, 3, 6), ("a", "b"))
    data = load(f"folder:{tmp_path}", size=(4, 4))
    assert (len(data.train), len(data.validation), len(data.test)) == (27, 3, 10)
    assert data.sample_shape == (3, 4, 4)
    assert data.classes == ("a", "b")


def test_class_without_training_samples_is_noted(tmp_path):
    np.savez(tmp_path / "s.npz", x_train=np.eye(20), y_train=np.repeat([0, 2], 10))
    assert "no training sample of 1 class(es), such as '1'" in load(str(tmp_path / "s.npz")).summary()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"validation": 0.0}, "between 0 and 1"),
        ({"validation": 1.0}, "between 0 and 1"),
        ({"limit": 1}, "at least 2"),
        ({"seed": -1}, "seed is -1"),
        ({"normalize": "both"}, "normalize is 'both'"),
        ({"size": (4, 4)}, "size is for folder:DIR"),
    ],
)
def test_arguments_out_of_range_are_usage_errors(arguments, expected):
    with pytest.raises(UsageError, match=expected):
        load("digits", **arguments)


def test_unknown_set_names_those_that_there_are():
    with pytest.raises(DataError, match=r"no data set 'imagenet'; there are digits, mnist, .*module:function"):
        load("imagenet")


def test_what_was_meant_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    (tmp_path / "table.npz").touch()
    with pytest.raises(DataError, match=r"write folder:pictures$"):
        load("pictures")
    with pytest.raises(DataError, match=r"write table\.npz$"):
        load("table")
    with pytest.raises(DataError, match=r"module:function$"):
        load("else")


def test_too_few_samples_for_the_parts(tmp_path):
    np.savez(tmp_path / "s.npz", x_train=np.eye(2), y_train=[0, 1])
    with pytest.raises(DataError, match="cannot give 1 for the validation part"):
        load(str(tmp_path / "s.npz"))


def test_import_is_light():
    heavy = ("scipy", "sklearn", "PIL", "pooch", "requests", "platformdirs", "onnxruntime", "torch")
    code = f"import sys, pysurgeon.data; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
