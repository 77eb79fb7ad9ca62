from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy.io import savemat

from pysurgeon.data import Split
from pysurgeon.data.formats.svhn import read_svhn
from pysurgeon.errors import DataError

from .formats import images, labels, split, write_svhn


def test_files_are_read_back_with_ten_as_zero(tmp_path):
    train, test = split(30), split(10, seed=1)
    write_svhn(tmp_path, train, test)
    raw = read_svhn(tmp_path)
    for read, written in ((raw.train, train), (raw.test, test)):
        assert_array_equal(read.x, written.x)
        assert_array_equal(read.y, written.y)
    assert raw.train.x.flags.c_contiguous
    assert len(raw.classes) == 10


def test_what_differs_from_the_publishers_is_noted(tmp_path):
    grey = Split(np.repeat(images(20, 1), 3, axis=1), labels(20))
    write_svhn(tmp_path, grey, split(10))
    notes = "; ".join(read_svhn(tmp_path).notes)
    assert "20 training images instead of 73,257, 10 test images instead of 26,032" in notes
    assert "grey images in three equal channels" in notes


@pytest.mark.parametrize("keep", [0, 100, 0.5])
def test_truncated_file_is_refused(tmp_path, keep):
    write_svhn(tmp_path, split(30), split(10))
    path = tmp_path / "train_32x32.mat"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep) if keep == 0.5 else keep])
    with pytest.raises(DataError, match=r"train_32x32\.mat"):
        read_svhn(tmp_path)


def test_other_contents_are_refused(tmp_path):
    write_svhn(tmp_path, split(30), split(10))
    savemat(tmp_path / "test_32x32.mat", {"X": images(4).transpose(2, 3, 1, 0)})
    with pytest.raises(DataError, match="has no variable y"):
        read_svhn(tmp_path)
    savemat(tmp_path / "test_32x32.mat", {"X": images(4), "y": labels(4)})
    with pytest.raises(DataError, match=r"has X uint8 \(4, 3, 32, 32\) and 4 labels"):
        read_svhn(tmp_path)
    (tmp_path / "test_32x32.mat").unlink()
    with pytest.raises(DataError, match="is missing; both"):
        read_svhn(tmp_path)


@pytest.mark.parametrize("tag", [101, 102, 255])
def test_a_damaged_type_is_an_error_and_not_the_end_of_this_process(tmp_path, tag):
    write_svhn(tmp_path, split(30), split(10))
    path = tmp_path / "train_32x32.mat"
    content = bytearray(path.read_bytes())
    content[184] = tag  # the type of the elements of X
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"train_32x32\.mat cannot be read"):
        read_svhn(tmp_path)


def test_labels_that_are_no_numbers_are_refused(tmp_path):
    write_svhn(tmp_path, split(30), split(10))
    savemat(
        tmp_path / "test_32x32.mat", {"X": images(4).transpose(2, 3, 1, 0), "y": np.array([["a"], ["b"], ["c"], ["d"]])}
    )
    with pytest.raises(DataError, match=r"labels of <U1|cannot be read"):
        read_svhn(tmp_path)
