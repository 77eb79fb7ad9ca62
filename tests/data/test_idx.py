from __future__ import annotations

import gzip

import pytest
from numpy.testing import assert_array_equal

from pysurgeon.data.formats.idx import read_fashion_mnist, read_mnist
from pysurgeon.errors import DataError

from .formats import split, write_idx

TRAIN, TEST = split(30, channels=1, size=28), split(10, channels=1, size=28, seed=1)


@pytest.mark.parametrize("compress", [True, False])
def test_both_files_are_read_back(tmp_path, compress):
    write_idx(tmp_path, TRAIN, TEST, compress=compress)
    raw = read_mnist(tmp_path)
    for read, written in ((raw.train, TRAIN), (raw.test, TEST)):
        assert_array_equal(read.x, written.x)
        assert_array_equal(read.y, written.y)
    assert raw.classes == tuple("0123456789")
    assert "30 training images instead of 60,000" in raw.notes[0]
    assert read_fashion_mnist(tmp_path).classes[9] == "Ankle boot"


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("keep", [0, 3, 10, 100, -1])
def test_truncated_file_is_refused(tmp_path, compress, keep):
    write_idx(tmp_path, TRAIN, TEST, compress=compress)
    path = next(tmp_path.glob("t10k-images*"))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"t10k-images.*(truncated|no IDX file)"):
        read_mnist(tmp_path)


def test_truncated_content_of_a_sound_archive_is_refused(tmp_path):
    write_idx(tmp_path, TRAIN, TEST, compress=True)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-5]))
    with pytest.raises(DataError, match=r"holds 7,835 values but announces 7,840"):
        read_mnist(tmp_path)


def test_missing_and_exchanged_files_are_refused(tmp_path):
    write_idx(tmp_path, TRAIN, TEST, compress=False)
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.write_bytes((tmp_path / "train-images-idx3-ubyte").read_bytes())
    with pytest.raises(DataError, match="no IDX file of bytes with rank 1"):
        read_mnist(tmp_path)
    labels.unlink()
    with pytest.raises(DataError, match="neither train-labels-idx1-ubyte nor"):
        read_mnist(tmp_path)
