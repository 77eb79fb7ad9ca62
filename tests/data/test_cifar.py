from __future__ import annotations

import pickle
import tarfile

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from pysurgeon.data import Split
from pysurgeon.data.formats.cifar import read_cifar10, read_cifar100
from pysurgeon.errors import DataError

from .formats import (
    cifar10_binary,
    cifar10_python,
    cifar100_binary,
    cifar100_python,
    images,
    labels,
    python2_batch,
    python3_batch,
    split,
    write_archive,
    write_files,
)

TRAIN, TEST = split(25), split(10, seed=1)
FINE_TRAIN, FINE_TEST = (Split(images(100, seed=seed), labels(100, 100)) for seed in (2, 3))


def assert_is_cifar10(raw):
    dealt = np.concatenate([np.arange(25)[k::5] for k in range(5)])
    assert_array_equal(raw.train.x, TRAIN.x[dealt])
    assert_array_equal(raw.train.y, TRAIN.y[dealt])
    assert_array_equal(raw.test.x, TEST.x)
    assert_array_equal(raw.test.y, TEST.y)


@pytest.mark.parametrize("batch", [python2_batch, python3_batch])
def test_python_version_is_read_from_its_folder_or_the_one_above(tmp_path, batch):
    folder = tmp_path / "cifar-10-batches-py"
    write_files(folder, cifar10_python(TRAIN, TEST, batch))
    for root in (tmp_path, folder):
        raw = read_cifar10(root)
        assert_is_cifar10(raw)
        assert raw.classes[3] == "name 3"
        assert "25 training images instead of 50,000" in raw.notes[0]


def test_binary_version_is_read(tmp_path):
    write_files(tmp_path / "cifar-10-batches-bin", cifar10_binary(TRAIN, TEST))
    raw = read_cifar10(tmp_path)
    assert_is_cifar10(raw)
    assert raw.classes[3] == "name3"


@pytest.mark.parametrize(
    ("archive", "inner", "files"),
    [
        ("cifar-10-python.tar.gz", "cifar-10-batches-py", cifar10_python(TRAIN, TEST)),
        ("cifar-10-binary.tar.gz", "cifar-10-batches-bin", cifar10_binary(TRAIN, TEST)),
    ],
)
def test_archives_are_read_without_unpacking(tmp_path, archive, inner, files):
    data = tmp_path / "data"
    write_archive(data / archive, inner, files, tmp_path / "scratch")
    assert_is_cifar10(read_cifar10(data))
    assert [path.name for path in data.iterdir()] == [archive]


@pytest.mark.parametrize(
    ("folder", "make", "name"),
    [("cifar-100-python", cifar100_python, "fine 7"), ("cifar-100-binary", cifar100_binary, "7")],
)
def test_fine_labels_of_cifar100_are_read(tmp_path, folder, make, name):
    write_files(tmp_path / folder, make(FINE_TRAIN, FINE_TEST))
    raw = read_cifar100(tmp_path)
    assert_array_equal(raw.train.x, FINE_TRAIN.x)
    assert_array_equal(raw.train.y, FINE_TRAIN.y)
    assert_array_equal(raw.test.x, FINE_TEST.x)
    assert raw.classes[7] == name


@pytest.mark.parametrize(
    ("folder", "file", "make"),
    [
        ("cifar-10-batches-py", "data_batch_3", cifar10_python),
        ("cifar-10-batches-bin", "data_batch_3.bin", cifar10_binary),
    ],
)
def test_truncated_and_missing_batches_are_refused(tmp_path, folder, file, make):
    write_files(tmp_path / folder, make(TRAIN, TEST))
    path = tmp_path / folder / file
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DataError, match=f"{file} .*truncated"):
        read_cifar10(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=file):
        read_cifar10(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=f"has no {file}; the set is complete only with"):
        read_cifar10(tmp_path)


def test_truncated_archive_is_refused(tmp_path):
    path = tmp_path / "data" / "cifar-10-python.tar.gz"
    write_archive(path, "cifar-10-batches-py", cifar10_python(TRAIN, TEST), tmp_path / "scratch")
    content = path.read_bytes()
    for length in (0, 10, len(content) // 2):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"cifar-10-python\.tar\.gz"):
            read_cifar10(path.parent)


def test_links_in_an_archive_are_not_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"text")
    folder = tmp_path / "scratch" / "cifar-10-batches-py"
    write_files(folder, cifar10_python(TRAIN, TEST))
    (folder / "test_batch").unlink()
    (folder / "test_batch").symlink_to(secret)
    path = tmp_path / "data" / "cifar-10-python.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, arcname=folder.name)
    with pytest.raises(DataError, match="has no test_batch; the set is complete only with"):
        read_cifar10(path.parent)


def test_malicious_batch_is_refused(tmp_path):
    files = cifar10_python(TRAIN, TEST)
    files["data_batch_2"] = b"cos\nsystem\n(Vtouch " + str(tmp_path / "ran").encode() + b"\ntR."
    write_files(tmp_path / "cifar-10-batches-py", files)
    with pytest.raises(DataError, match=r"data_batch_2 is refused: it names os\.system"):
        read_cifar10(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        ({b"labels": [1]}, "no 'data' of bytes"),
        ({b"data": np.zeros((1, 3072), np.int64), b"labels": [1]}, "no 'data' of bytes"),
        ({b"data": np.zeros((1, 3000), np.uint8), b"labels": [1]}, "no 'data' of bytes"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]}, "no 'labels' of 2 small integers"),
        ({b"data": np.zeros((1, 3072), np.uint8), b"labels": [10**30]}, "no 'labels' of 1 small integers"),
        ({b"data": np.zeros((1, 3072), np.uint8)}, "no 'labels' of 1 small integers"),
    ],
)
def test_batches_of_another_content_are_refused(tmp_path, batch, expected):
    files = cifar10_python(TRAIN, TEST)
    files["data_batch_1"] = pickle.dumps(batch, 2)
    write_files(tmp_path, files)
    with pytest.raises(DataError, match=expected):
        read_cifar10(tmp_path)


def test_names_are_optional_but_must_fit(tmp_path):
    files = cifar10_python(TRAIN, TEST)
    del files["batches.meta"]
    write_files(tmp_path, files)
    assert read_cifar10(tmp_path).classes == tuple("0123456789")
    (tmp_path / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"a", b"b"]}, 2))
    with pytest.raises(DataError, match="does not name 10 classes"):
        read_cifar10(tmp_path)


def test_folder_without_a_set_tells_what_is_expected(tmp_path):
    with pytest.raises(DataError, match=r"expected cifar-10-batches-py \(or cifar-10-python\.tar\.gz\)"):
        read_cifar10(tmp_path)
