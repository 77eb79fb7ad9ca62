from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from pysurgeon.data import Batches, Dataset, Split
from pysurgeon.data.augment import PADDING, FlipCrop
from pysurgeon.errors import UsageError

from .formats import images, labels, split

fixed = settings(deadline=None, derandomize=True, max_examples=40)
counts = st.integers(1, 50)
sizes = st.integers(1, 60)
seeds = st.integers(0, 2**40)


def build(train: Split, normalize="none") -> Dataset:
    return Dataset.build(
        "made", train=train, validation=train, test=train, classes=tuple("0123456789"), normalize=normalize
    )


def table(count: int) -> Dataset:
    """Each sample holds its own index."""
    return build(Split(np.arange(count, dtype=np.float32)[:, None], labels(count)))


@fixed
@given(counts, sizes, seeds, st.integers(0, 3), st.booleans())
def test_an_epoch_is_a_permutation(count, size, seed, epoch, shuffle):
    batches = Batches(table(count), size, seed=seed, drop_last=False, shuffle=shuffle)
    seen = list(batches.epoch(epoch))
    assert len(seen) == batches.steps_per_epoch
    assert all(0 < len(x) == len(y) <= size for x, y in seen)
    indices = np.concatenate([x[:, 0] for x, _ in seen])
    assert sorted(indices) == list(range(count))
    assert_array_equal(np.concatenate([y for _, y in seen]), indices % 10)


@fixed
@given(counts, sizes, seeds)
def test_without_the_last_all_batches_are_full_and_none_repeats_a_sample(count, size, seed):
    batches = Batches(table(count), size, seed=seed)
    seen = [x[:, 0] for x, _ in batches.epoch(0)]
    assert batches.steps_per_epoch == len(seen) == max(1, count // size)
    assert {len(x) for x in seen} == {batches.batch_size} == {min(size, count)}
    assert len(np.unique(np.concatenate(seen))) == len(seen) * batches.batch_size


@fixed
@given(seeds, st.permutations(range(12)))
def test_a_batch_is_the_same_whenever_it_is_asked_for(seed, order):
    data = build(split(17, size=6))
    forward = Batches(data, 4, seed=seed, augment="flip-crop")
    expected = [forward.batch(step) for step in range(12)]
    other = Batches(data, 4, seed=seed, augment="flip-crop")
    for step in order:
        x, y = other.batch(step)
        assert_array_equal(x, expected[step][0])
        assert_array_equal(y, expected[step][1])
        assert_array_equal(data.train.y[other.indices(step)], y)


def test_a_sample_looks_the_same_in_an_epoch_whatever_the_batch_size_and_order():
    data = build(split(30, size=8))
    shown = []
    for size, shuffle in ((1, True), (7, True), (30, False)):
        batches = Batches(data, size, seed=5, augment="flip-crop", drop_last=False, shuffle=shuffle)
        steps = range(2 * batches.steps_per_epoch, 3 * batches.steps_per_epoch)
        order = np.concatenate([batches.indices(step) for step in steps])
        shown.append(np.concatenate([x for x, _ in batches.epoch(2)])[np.argsort(order)])
    assert_array_equal(shown[0], shown[1])
    assert_array_equal(shown[0], shown[2])


def test_epochs_and_seeds_differ_in_order_and_in_variants():
    data = build(split(64, size=8))
    batches = Batches(data, 64, seed=1, augment="flip-crop", shuffle=False)
    other = Batches(data, 64, seed=2, augment="flip-crop", shuffle=False)
    assert (batches.batch(0)[0] != batches.batch(1)[0]).any()
    assert (batches.batch(0)[0] != other.batch(0)[0]).any()
    orders = [Batches(data, 64, seed=seed).indices(step) for seed, step in ((1, 0), (1, 1), (2, 0))]
    assert (orders[0] != orders[1]).any()
    assert (orders[0] != orders[2]).any()


@pytest.mark.parametrize("normalize", ["standard", "none"])
def test_augmentation_is_flip_then_crop_of_the_normalized_image_padded_by_zeros(normalize):
    data = build(split(200, size=8), normalize)
    batches = Batches(data, 200, seed=3, augment="flip-crop", shuffle=False)
    x, _ = batches.batch(0)
    variants = batches._epoch[2]
    assert isinstance(variants, FlipCrop)
    padded = np.pad(data.normalized(data.train.x), ((0, 0), (0, 0), (PADDING, PADDING), (PADDING, PADDING)))
    plain = padded[:, :, PADDING:-PADDING, PADDING:-PADDING]
    for index in range(200):
        image = plain[index, :, :, ::-1] if variants.flip[index] else plain[index]
        image = np.pad(image, ((0, 0), (PADDING, PADDING), (PADDING, PADDING)))
        top, left = variants.top[index], variants.left[index]
        assert_array_equal(x[index], image[:, top : top + 8, left : left + 8])
    assert set(variants.top) == set(variants.left) == set(range(2 * PADDING + 1))
    assert 60 < variants.flip.sum() < 140


def test_images_that_are_not_square_keep_their_shape():
    data = build(Split(images(20, 1, 12)[:, :, :5], labels(20)))
    x, _ = Batches(data, 8, seed=0, augment="flip-crop").batch(1)
    assert x.shape == (8, 1, 5, 12)


def test_plain_batches_are_normalized():
    data = build(split(40, size=8), "standard")
    batches = Batches(data, 40, seed=0)
    x, y = batches.batch(0)
    assert x.dtype == np.float32
    assert y.dtype == np.int64
    assert_allclose(x, data.normalized(data.train.x)[batches.indices(0)])


def test_batches_belong_to_the_caller():
    data = build(split(8, size=4))
    batches = Batches(data, 8, seed=0, shuffle=False)
    x, y = batches.batch(0)
    x[:], y[:] = 0, 0
    batches.indices(0)[:] = 0
    assert_array_equal(batches.batch(0)[0], data.normalized(data.train.x))
    assert_array_equal(batches.batch(0)[1], data.train.y)


def test_another_part_can_be_asked_for():
    data = Dataset.build("d", train=split(20), validation=split(6, seed=1), test=split(9), classes=tuple("0123456789"))
    assert Batches(data, 3, seed=0, part="validation").steps_per_epoch == 2


def test_unusable_arguments_are_usage_errors():
    data = build(split(8, size=4))
    with pytest.raises(UsageError, match="batch size is 0"):
        Batches(data, 0, seed=0)
    with pytest.raises(UsageError, match="seed is -1"):
        Batches(data, 2, seed=-1)
    with pytest.raises(UsageError, match="step is -1"):
        Batches(data, 2, seed=0).batch(-1)
    with pytest.raises(UsageError, match="augment is 'mixup'"):
        Batches(data, 2, seed=0, augment="mixup")
    with pytest.raises(UsageError, match="which is for images"):
        Batches(table(8), 2, seed=0, augment="flip-crop")
    with pytest.raises(UsageError, match="no part 'all'"):
        Batches(data, 2, seed=0, part="all")
