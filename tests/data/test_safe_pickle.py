from __future__ import annotations

import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from pysurgeon.data.formats.safe_pickle import load_pickle
from pysurgeon.errors import DataError

from .formats import images, python2_batch, python3_batch


class Payload:
    """Runs a function when it is unpickled."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("batch", [python2_batch, python3_batch])
def test_batches_of_both_pythons_are_read(batch):
    x = images(7)
    loaded = load_pickle(batch(x, [3, 1, 4, 1, 5, 9, 2], b"labels"), "file")
    assert_array_equal(loaded["data"], x.reshape(7, -1))
    assert loaded["data"].dtype == np.uint8
    assert loaded["labels"] == [3, 1, 4, 1, 5, 9, 2]


def test_the_python_2_writer_of_these_tests_writes_what_numpy_understands():
    x = images(3)
    expected = pickle.loads(python2_batch(x, [1, 2, 3], b"labels"), encoding="bytes")  # noqa: S301
    assert_array_equal(expected[b"data"], x.reshape(3, -1))
    assert expected[b"labels"] == [1, 2, 3]


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize("dtype", ["u1", "<i8", ">i4", "<u2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_integer_arrays_of_any_protocol_are_read(protocol, dtype, order):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype, order=order)
    loaded = load_pickle(pickle.dumps({"a": array, "empty": np.zeros(0, dtype)}, protocol), "file")
    assert_array_equal(loaded["a"], array)
    assert loaded["a"].dtype == array.dtype
    assert loaded["empty"].size == 0


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_runs_a_command_is_refused_and_does_not_run(tmp_path, protocol):
    target = tmp_path / "ran"
    for payload in (Payload(os.system, f"touch {target}"), Payload(Path.touch, target), Payload(eval, "1 + 1")):
        with pytest.raises(DataError, match="may be malicious"):
            load_pickle(pickle.dumps({b"data": payload}, protocol), "file")
    assert not target.exists()


@pytest.mark.parametrize(
    ("opcodes", "reason"),
    [
        (b"cnumpy\nload\n(Vx\ntR.", "names numpy.load"),
        (b"cnumpy.core.multiarray\n_reconstruct\n}Vx\nK\x01sb.", "sets the state of a function"),
        (b"cnumpy\ndtype\n(N}Vx\nK\x01stb.", "sets the state of a function"),
        (b"c_codecs\nencode\n(Vaa\nVhex\ntR.", "encodes by 'hex'"),
        (b"c__builtin__\nbytes\n(J\xff\xff\xff\x7ftR.", "calls bytes with arguments"),
        (b"c__builtin__\ngetattr\n.", "names __builtin__.getattr"),
        (b"(ios\nsystem\n.", "names os.system"),
        (b"Pname\n.", "persistent"),
    ],
    ids=["function", "state", "slots", "codec", "huge bytes", "getattr", "inst", "persistent"],
)
def test_opcodes_that_reach_for_more_are_refused(opcodes, reason):
    with pytest.raises(DataError, match=re.escape(reason)):
        load_pickle(opcodes, "file")


@pytest.mark.parametrize(
    "array",
    [
        np.array([{}], dtype=object),
        np.zeros(2, dtype=[("a", "u1")]),
        np.zeros(3),
        np.array(["2020-01-01"], dtype="M8[D]"),
    ],
    ids=["objects", "records", "floats", "dates"],
)
def test_arrays_of_anything_but_integers_are_refused(array):
    with pytest.raises(DataError):
        load_pickle(pickle.dumps({"data": array}, 2), "file")


def test_array_whose_shape_and_content_differ_is_refused():
    content = python2_batch(images(2), [0, 1], b"labels").replace(
        b"J" + (2).to_bytes(4, "little"), b"J\x00\x00\x00\x40"
    )
    with pytest.raises(DataError, match="truncated"):
        load_pickle(content, "file")


@pytest.mark.parametrize("batch", [python2_batch, python3_batch])
def test_every_truncation_is_refused(batch):
    content = batch(images(1, 1, 4), [5], b"labels")
    for length in range(len(content)):
        with pytest.raises(DataError, match="file"):
            load_pickle(content[:length], "file")


def test_other_objects_are_no_batch():
    for value in ([1, 2], {1: 2}, "text"):
        with pytest.raises(DataError, match="no dictionary"):
            load_pickle(pickle.dumps(value), "file")


@pytest.mark.parametrize("number", [2**20, 2**28, 2**31 - 1, 2**32 - 1])
def test_a_number_for_a_value_is_not_believed(number: int) -> None:
    """The reader would take 16 bytes for every number up to this one."""
    content = b"\x80\x02}r" + number.to_bytes(4, "little") + b"."
    with pytest.raises(DataError, match="it keeps a value as number"):
        load_pickle(content, "batch")


def test_values_may_be_counted_from_one() -> None:
    assert load_pickle(b"\x80\x02}q\x01U\x01aq\x02K\x05s.", "batch") == {"a": 5}
