"""What a reader of files hands over: the splits that are there, before any cutting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from pysurgeon.data.split import Split
from pysurgeon.data.types import LabelKind, Task


@dataclass(frozen=True, eq=False)
class RawData:
    """The splits of a source.

    Attributes:
        train: Always there.
        test: As its publishers split it, if they did.
        validation: Likewise.
        classes: Names of the classes.
        notes: What a reader of figures on this data must know, one clause each.
        task: What is to be learnt.
        several: What the labels of each output are, where there are several.
    """

    train: Split
    test: Split | None
    validation: Split | None
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    task: Task = "classification"
    several: Mapping[str, LabelKind] = field(default_factory=dict)


def numbered(count: int) -> tuple[str, ...]:
    """Name classes by their numbers."""
    return tuple(str(label) for label in range(count))


def provenance(
    train: Split, test: Split, published: tuple[int, int], test_file_matches: bool | None = None
) -> tuple[str, ...]:
    """Say in what way files differ from those that published figures were measured on.

    Args:
        train: Training split as read.
        test: Test split as read.
        published: Samples that the publishers' two splits have.
        test_file_matches: Whether the test file has the publishers' checksum; None if that is not known.

    Returns:
        One clause for each difference.
    """
    differences = [
        f"{len(split):,} {title} images instead of {count:,}"
        for title, split, count in (("training", train, published[0]), ("test", test, published[1]))
        if len(split) != count
    ]
    if not differences and test_file_matches is False:
        differences.append("another checksum")
    notes = []
    if differences:
        reason = ", ".join(differences)
        notes.append(f"not the publishers' files ({reason}): compare figures with one another, not with published ones")
    sample = train.x[:1000]
    if sample.ndim == 4 and sample.shape[1] == 3 and np.array_equal(sample[:, :1].repeat(2, axis=1), sample[:, 1:]):
        notes.append("grey images in three equal channels")
    return tuple(notes)
