"""A data set: three parts, the task, the names of the classes and the normalization."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from pysurgeon.data import normalization
from pysurgeon.data.checks import check_like, check_values
from pysurgeon.data.names import renumbering
from pysurgeon.data.normalization import Normalization
from pysurgeon.data.raw import numbered
from pysurgeon.data.split import Split
from pysurgeon.data.types import PART_TITLES, Floats, Inputs, LabelKind, Order, Part, Samples, Targets, Task
from pysurgeon.errors import DataError, UsageError
from pysurgeon.settings import Normalize


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three parts of a data set, checked, with what turns raw values into what a model sees.

    A model sees ``(x * scale - mean) / std``. Training engines read out of bounds on a label that is too large, so
    labels are checked here, once, for everything that follows. `Dataset.build` computes the normalization.

    Attributes:
        name: What it was loaded by.
        train: What models learn from.
        validation: What decisions are made on.
        test: What is looked at once, to report.
        classes: Names of the classes, label k is ``classes[k]``; of the labels; or of the numbers to predict.
        mean: float32 ``(C,)``, ``()``, or ``(1, ..., F)`` of as many axes as a sample has; of the training part.
        std: float32 of the same shape, above 0.
        scale: What raw values are multiplied by before: 1/255 for pixels in bytes, else 1.
        notes: What a reader of figures on this data must know, one clause each.
        task: What is to be learnt. Classes are integers, all else is float32.
        undecided: Whether a model that is going to be fed may say otherwise about the normalization.
        several: What the labels of each output are, by its name, where labels are of several outputs.
        order: Whose order the classes are in: that of the `data`, one that was `given`, or, still to be found, the one of which the
            answers of the model show that it is its own (`match`).
        output: Name of the output of a model that the labels are of; empty for the first one that they fit.
        settled: Whether the model that is going to be fed has been looked at.
        cautions: What makes it doubtful that the model is fed as it was when it was trained, one clause each.

    Raises:
        DataError: A label is not in 0..classes-1, a value is not finite, the parts differ in shape or type, there are
            fewer than two classes, or the normalization does not fit.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    mean: Floats
    std: Floats
    scale: float
    notes: tuple[str, ...] = ()
    task: Task = "classification"
    undecided: bool = False
    several: Mapping[str, LabelKind] = field(default_factory=dict)
    order: Order = "data"
    output: str = ""
    settled: bool = False
    cautions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.task == "classification" and len(self.classes) < 2 and bool((self.train.y >= 0).any()):
            message = f"{self.name} has {len(self.classes)} class(es); classification needs at least two"
            raise DataError(message)
        for part, title in PART_TITLES.items():
            split = self.part(part)
            check_like(split, self.train, title)
            check_values(split, len(self.classes), title, self.task, self.several)
        by_feature = (1,) * (len(self.sample_shape) - 1) + self.sample_shape[-1:]
        if self.mean.shape not in ((), self.sample_shape[:1], by_feature) or self.std.shape != self.mean.shape:
            message = (
                f"the normalization has the shapes {self.mean.shape} and {self.std.shape}; "
                f"both must be (), {self.sample_shape[:1]} or {by_feature}"
            )
            raise DataError(message)
        if not (np.isfinite(self.mean).all() and np.isfinite(self.std).all() and (self.std > 0).all()):
            message = "the normalization must consist of finite means and of finite deviations above 0"
            raise DataError(message)

    @classmethod
    def build(
        cls,
        name: str,
        *,
        train: Split,
        validation: Split,
        test: Split,
        classes: tuple[str, ...],
        normalize: Normalize | Normalization = "auto",
        notes: tuple[str, ...] = (),
        task: Task = "classification",
        several: Mapping[str, LabelKind] | None = None,
    ) -> Dataset:
        """Make a data set of three parts; the normalization is computed from the training part alone, where it is not given.

        Several inputs are fed as they are: which of them could be normalized, and over which axes, nobody has said.

        Raises:
            DataError: The parts cannot be used; see the class.
            UsageError: ``normalize`` is none of its words.
        """
        if isinstance(normalize, Normalization):
            numbers = normalize
        else:
            numbers = normalization.fit(train.x, "none" if train.named else normalize)
        undecided = normalize == "auto" and not train.named
        figures = numbers.mean, numbers.std, numbers.scale
        return cls(name, train, validation, test, classes, *figures, notes, task, undecided, several or {})

    def with_normalization(self, numbers: Normalization, note: str) -> Dataset:
        """The same samples, decided to be normalized in this way.

        Raises:
            DataError: The numbers do not fit the samples.
        """
        return replace(
            self,
            mean=numbers.mean,
            std=numbers.std,
            scale=numbers.scale,
            notes=(*self.notes, note),
            undecided=False,
        )

    def with_classes(self, names: tuple[str, ...], note: str) -> Dataset:
        """The same samples, their labels counted in the order of these names.

        Names that the data has are looked up; where it has none but numbers, they are named. There may be more than the data has.

        Raises:
            DataError: There are too few, one of the data's is not among them, or there are no classes to be named.
        """
        numbers = renumbering(self.classes, names, self.task, self.name)
        train, validation, test = (
            replace(split, y=numbers[split.y] if self.task == "classification" else split.y)
            for split in (self.train, self.validation, self.test)
        )
        return replace(
            self, train=train, validation=validation, test=test, classes=names, order="given", notes=(*self.notes, note)
        )

    @property
    def nameless(self) -> bool:
        """Whether classes, labels or numbers are only counted."""
        return self.classes == numbered(len(self.classes))

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample: ``(C, H, W)`` for images, ``(features,)`` for tables."""
        return self.train.sample_shape

    def part(self, part: Part) -> Split:
        """Return one of the three parts by its name.

        Raises:
            UsageError: There is no part of this name.
        """
        if part not in PART_TITLES:
            message = f"there is no part {part!r}; the parts are {', '.join(PART_TITLES)}"
            raise UsageError(message)
        split: Split = getattr(self, part)
        return split

    def normalized(self, x: Samples, out: Floats | None = None) -> Floats:
        """Turn raw samples into what a model sees.

        Args:
            x: Raw samples ``(n, *sample_shape)``; not modified.
            out: float32 of the same shape to write to; a new array if absent.

        Returns:
            float32 ``(n, *sample_shape)``.
        """
        # (x * scale - mean) / std as one difference and one product; the difference first, so that large means cancel.
        spread = self.mean.shape + (1,) * (len(self.sample_shape) - self.mean.ndim if self.mean.ndim else 0)
        offset = (self.mean.astype(np.float64) / self.scale).astype(np.float32).reshape(spread)
        factor = (self.scale / self.std.astype(np.float64)).astype(np.float32).reshape(spread)
        # In passes of one type, which NumPy has vector loops for; one that converts bytes on the way has none.
        result: Floats = np.empty(x.shape, np.float32) if out is None else out
        np.copyto(result, x)
        result -= offset
        result *= factor
        return result

    def inputs(self, x: Inputs, *, raw: bool = False) -> Inputs:
        """Turn raw samples into what a model is fed.

        Args:
            x: As `Split.rows` gives them.
            raw: Whether they are fed as they are, as integers are to a model that takes integers.
        """
        return x if raw or isinstance(x, dict) else self.normalized(x)

    def evaluation_batches(self, part: Part, batch_size: int, *, raw: bool = False) -> Iterator[tuple[Inputs, Targets]]:
        """Go through a part once, in its own order, without augmentation.

        The order may be by class; for a few samples that represent the part, take a `Batches` of it.

        Args:
            part: Which part.
            batch_size: Samples a batch, at least 1; the last batch holds what remains and is never empty.
            raw: Whether samples are not normalized.

        Returns:
            An iterator over inputs, float32 ``(b, *sample_shape)`` unless they are raw or named, and targets ``(b, ...)``.

        Raises:
            UsageError: There is no such part, or the batch size is below 1.
        """
        split = self.part(part)
        if batch_size < 1:
            message = f"the batch size is {batch_size}; it must be at least 1"
            raise UsageError(message)
        slices = (slice(start, start + batch_size) for start in range(0, len(split), batch_size))
        return ((self.inputs(split.rows(rows), raw=raw), split.y[rows].copy()) for rows in slices)

    def _learnt(self) -> str:
        if self.several:
            return ", ".join(f"{name}: {_learnt(self.train.y[name], kind)}" for name, kind in self.several.items())
        return _learnt(self.train.y, LabelKind(self.task, self.classes))

    def summary(self) -> str:
        """Describe the data set in one line, with what a reader of figures on it must know."""
        inputs = ", ".join(
            f"{name} {'x'.join(str(size) for size in x.shape[1:])} {x.dtype}".strip()
            for name, x in (self.train.named or {"": self.train.x}).items()
        )
        line = (
            f"{self.name}: {len(self.train):,} train / {len(self.validation):,} validation / {len(self.test):,} test, "
            f"{self._learnt()}, {inputs}"
        )
        return "; ".join((line, *self.notes))


def _learnt(y: Targets, kind: LabelKind) -> str:
    shape = y.shape[1:]
    if kind.task == "unlabelled":
        return "no labels"
    if kind.task == "classification":
        places = f" at {'x'.join(map(str, shape))} places" if shape else ""
        return f"{len(kind.classes)} classes{places}"
    if kind.task == "multi-label":
        return f"{len(kind.classes)} labels"
    return "1 number to predict" if prod(shape) == 1 else f"{'x'.join(map(str, shape))} numbers to predict"
