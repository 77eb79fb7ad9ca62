"""Random streams that never meet, however alike the seeds are."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from pysurgeon.errors import UsageError


class Stream(IntEnum):
    """What a random generator is for; it leads the seed, so that two purposes with one seed stay independent."""

    TEST = 0
    LIMIT = 1
    VALIDATION = 2
    ORDER = 3
    AUGMENTATION = 4


def generator(stream: Stream, seed: int, index: int = 0) -> np.random.Generator:
    """Make the generator of one purpose.

    Args:
        stream: The purpose.
        seed: The user's seed, at least 0.
        index: A second coordinate, such as the epoch, at least 0.

    Returns:
        A generator that depends on the three arguments alone.

    Raises:
        UsageError: The seed is negative.
    """
    if seed < 0:
        message = f"the seed is {seed}; it must be an integer of at least 0"
        raise UsageError(message)
    return np.random.default_rng([int(stream), int(seed), int(index)])
