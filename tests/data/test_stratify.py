from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pysurgeon.data import Split
from pysurgeon.data.stratify import cut, stratified_order

fixed = settings(deadline=None, derandomize=True, max_examples=60)
label_lists = st.lists(st.integers(0, 4), min_size=2, max_size=120)
seeds = st.integers(0, 2**40)


@fixed
@given(label_lists, seeds)
def test_order_is_a_permutation(y, seed):
    order = stratified_order(np.array(y), np.random.default_rng(seed))
    assert sorted(order) == list(range(len(y)))


@fixed
@given(label_lists, seeds)
def test_every_prefix_holds_the_classes_in_proportion(y, seed):
    y = np.array(y)
    order = stratified_order(y, np.random.default_rng(seed))
    classes = len(np.unique(y))
    for count in range(1, len(y) + 1):
        for label in np.unique(y):
            share = (y == label).mean()
            # Half a sample from rounding the class itself, and its share of the rounding of all classes.
            assert abs((y[order[:count]] == label).sum() - count * share) <= 0.5 + 0.5 * classes * share + 1e-9


@fixed
@given(label_lists, seeds, st.data())
def test_cut_is_a_partition_that_keeps_samples_with_their_labels(y, seed, data):
    y = np.array(y)
    split = Split(np.arange(len(y), dtype=np.float32)[:, None], y)
    count = data.draw(st.integers(1, len(y) - 1))
    part, rest = cut(split, count, np.random.default_rng(seed))
    assert len(part) == count
    indices = np.concatenate([part.x, rest.x])[:, 0].astype(int)
    assert sorted(indices) == list(range(len(y)))
    assert (y[indices] == np.concatenate([part.y, rest.y])).all()


def test_order_depends_on_the_seed():
    y = np.arange(40) % 4
    first, again, other = (stratified_order(y, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_a_rare_class_stays_in_the_rest():
    split = Split(np.zeros((100, 1), np.float32), np.array([0] * 99 + [1]))
    for seed in range(20):
        _, rest = cut(split, 10, np.random.default_rng(seed))
        assert 1 in rest.y
