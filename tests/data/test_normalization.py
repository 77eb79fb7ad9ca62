from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from pysurgeon.data import Dataset, Split
from pysurgeon.errors import UsageError

from .formats import images, labels


def dataset(x: np.ndarray, normalize="standard") -> Dataset:
    part = Split(x, labels(len(x), 2))
    return Dataset.build("made", train=part, validation=part, test=part, classes=("a", "b"), normalize=normalize)


def test_standard_images_have_zero_mean_and_unit_deviation_per_channel():
    x = images(600)
    x[:, 1] //= 3
    data = dataset(x)
    assert_allclose(data.mean, (x / 255).mean(axis=(0, 2, 3)), rtol=1e-6)
    assert_allclose(data.std, (x / 255).std(axis=(0, 2, 3)), rtol=1e-6)
    seen = data.normalized(x)
    assert seen.dtype == np.float32
    assert_allclose(seen, (x / 255 - data.mean[:, None, None]) / data.std[:, None, None], atol=1e-5)
    assert_allclose(seen.mean(axis=(0, 2, 3), dtype=float), 0, atol=1e-5)
    assert_allclose(seen.std(axis=(0, 2, 3), dtype=float), 1, atol=1e-5)


def test_unit_divides_bytes_by_255_and_leaves_floats():
    x = images(4)
    assert_allclose(dataset(x, "unit").normalized(x), x / 255, rtol=1e-6)
    floats = x.astype(np.float32)
    assert_array_equal(dataset(floats, "unit").normalized(floats), floats)


def test_none_gives_raw_values_as_float32():
    x = images(4)
    seen = dataset(x, "none").normalized(x)
    assert seen.dtype == np.float32
    assert_array_equal(seen, x)


def test_float_tables_are_standardised_by_column_without_cancellation():
    x = (np.random.default_rng(0).normal(size=(700, 3)) * [1, 1e-3, 10] + [1e4, 5, 0]).astype(np.float32)
    data = dataset(x)
    assert data.mean.shape == (3,)
    assert_allclose(data.std, x.astype(float).std(axis=0), rtol=1e-6)
    assert_allclose(data.normalized(x).std(axis=0, dtype=float), 1, rtol=1e-3)


def test_byte_tables_share_one_number():
    x = images(50, 1, 8).reshape(50, 64)
    data = dataset(x)
    assert data.mean.shape == data.std.shape == ()
    assert_allclose(data.normalized(x), (x / 255 - (x / 255).mean()) / (x / 255).std(), atol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_what_never_varies_is_centred_and_not_divided(dtype):
    x = np.full((300, 2, 4, 4), 77, dtype)
    x[:, 1, 0] = 0
    data = dataset(x)
    assert data.std[0] == 1
    assert_allclose(data.normalized(x)[:, 0], 0, atol=1e-5)


def test_only_the_training_part_counts():
    x = images(20)
    train, other = Split(x[:10], labels(10, 2)), Split(x[10:] // 4, labels(10, 2))
    data = Dataset.build("made", train=train, validation=other, test=other, classes=("a", "b"))
    assert_allclose(data.mean, (x[:10] / 255).mean(axis=(0, 2, 3)), rtol=1e-6)


def test_unknown_normalization_is_a_usage_error():
    with pytest.raises(UsageError, match="one of auto, standard, unit, none, imagenet"):
        dataset(images(4), "minmax")
