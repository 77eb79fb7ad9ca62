"""Cutting a split in two so that every class is represented in proportion.

One order serves every cut: give the k-th of the n_c samples of class c (counted in a random order of the class) the
position (k + 1/2) / n_c. Sorted by position, *every* prefix holds the classes nearly in proportion, and a shorter
prefix is part of a longer one: 1,000 images for a trial are among the 10,000 of the run that follows.
"""

from __future__ import annotations

import numpy as np

from pysurgeon.data.split import Split
from pysurgeon.data.types import Labels


def stratified_order(y: Labels, rng: np.random.Generator) -> Labels:
    """Order samples so that every prefix is stratified by class.

    Args:
        y: int64 ``(n,)``, classes.
        rng: Decides the order within the classes and among equal positions.

    Returns:
        int64 ``(n,)``, a permutation of the sample indices.
    """
    shuffled = rng.permutation(len(y))
    by_class = shuffled[np.argsort(y[shuffled], kind="stable")]
    _, starts, counts = np.unique(y[by_class], return_index=True, return_counts=True)
    rank = np.arange(len(y)) - np.repeat(starts, counts)
    position = (rank + 0.5) / np.repeat(counts, counts)
    return by_class[np.lexsort((rng.random(len(y)), position))]


def cut(split: Split, count: int, rng: np.random.Generator) -> tuple[Split, Split]:
    """Cut a part off a split, stratified where there are classes.

    Args:
        split: What is to be cut; it is not modified.
        count: Number of samples to cut off, from 1 to ``len(split) - 1``.
        rng: Decides which samples.

    Returns:
        The part cut off and the rest; both keep the samples' order.
    """
    # Without a class of the sample there is nothing to be in proportion, and the order is a random one.
    has_class = split.y.dtype == np.int64 and split.y.ndim == 1
    classes = split.y if has_class else np.zeros(len(split), np.int64)
    order = stratified_order(classes, rng)
    return split.take(np.sort(order[:count])), split.take(np.sort(order[count:]))
