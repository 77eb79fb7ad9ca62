"""The labels that an output is compared with, matched with its shape, and what a loss of the registry makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from pysurgeon.data import Dataset, LabelKind, Split, Task
from pysurgeon.errors import DataError, UsageError
from pysurgeon.graph import Array
from pysurgeon.training.losses.shipped import LOSSES
from pysurgeon.training.losses.targets import AsTheyAre, Classes, Labels, Numbers, Targets
from pysurgeon.training.losses.weights import Importance, by_class, by_label
from pysurgeon.training.task.binding import written
from pysurgeon.training.task.head import Head


@dataclass(frozen=True, eq=False)
class Answers:
    """Labels of one output.

    Attributes:
        name: Of the data set.
        task: What they are.
        classes: Names of classes, labels or numbers.
        y: Of the training part.
        output: Whose labels they are; empty where a data set has those of one output alone.
    """

    name: str
    task: Task
    classes: tuple[str, ...]
    y: Array
    output: str = ""


def answers_of(data: Dataset, output: str = "") -> Answers:
    """The labels of an output.

    Args:
        data: The data set.
        output: Its name; where there are labels of several outputs, it must be one of them.

    Raises:
        DataError: It is not.
    """
    if not data.several:
        return Answers(data.name, data.task, data.classes, data.train.y)
    if output not in data.several:
        message = f"{data.name!r} has no labels for output {output!r}; it has them for {', '.join(data.several)}"
        raise DataError(message)
    kind = data.several[output]
    return Answers(data.name, kind.task, kind.classes, data.train.y[output], output)


def check_shape(answers: Answers, end: Head, shape: tuple[int, ...]) -> None:
    """See that labels that are no classes have the shape of the output, but for axes of size 1.

    Raises:
        DataError: They have not.
    """
    labels = answers.y.shape[1:]
    if shape == labels or (prod(shape) == prod(labels) and 1 in (*shape, *labels)):
        return
    several = answers.task == "multi-label"
    what = (
        f"{len(answers.classes)} labels a sample"
        if several
        else "labels that are no class numbers, hence numbers to predict"
    )
    raise DataError(_misfit(answers, what, labels, end, shape))


def class_axis(answers: Answers, end: Head, shape: tuple[int, ...]) -> int | None:
    """The axis of a sample's logits that the classes are along, `None` where two classes are told by one logit.

    Raises:
        DataError: Labels and output do not fit.
    """
    places, classes = answers.y.shape[1:], len(answers.classes)
    fitting = [k for k, size in enumerate(shape) if size == classes and shape[:k] + shape[k + 1 :] == places]
    if end.axis in fitting:
        return end.axis
    if fitting:
        # Pixels have their classes first, as channels; tokens have them last. They differ where there are as many places as classes.
        return fitting[0] if len(places) > 1 else fitting[-1]
    if classes == 2 and tuple(d for d in shape if d != 1) == tuple(d for d in places if d != 1):
        return None
    what = f"{classes} classes" + (f" at {'x'.join(map(str, places))} places" if places else "")
    raise DataError(_misfit(answers, what, (*places, classes) if len(places) < 2 else (classes, *places), end, shape))


def numbers(answers: Answers, end: Head, shape: tuple[int, ...]) -> Numbers:
    """Labels as numbers, in units of their deviation over the training part.

    Raises:
        DataError: They do not fit the output.
    """
    check_shape(answers, end, shape)
    y = answers.y
    mean = y.mean(axis=0, keepdims=True, dtype=np.float64)
    deviation = y.std(axis=0, keepdims=True, dtype=np.float64)
    deviation = np.where(deviation > 1e-7 * np.abs(mean), deviation, 1.0)
    return Numbers(shape, mean.reshape(1, *shape), deviation.reshape(1, *shape))


def targets(
    name: str, answers: Answers, end: Head, shape: tuple[int, ...], importance: Importance
) -> tuple[Targets, int]:
    """Targets made of labels, and the axis of vectors.

    Args:
        name: Of a loss of the registry.
        answers: The labels.
        end: Of the model.
        shape: Of the output for a sample.
        importance: What classes and labels count.

    Raises:
        DataError: The labels do not fit the output.
        UsageError: The loss is for other labels.
    """
    takes, y, task = LOSSES[name].takes, answers.y, answers.task
    if task == "classification" and takes in ("distribution", "labels"):
        axis = class_axis(answers, end, shape)
        if takes == "distribution" and axis is not None:
            count = len(answers.classes)
            return Classes(shape, axis, importance.of(lambda: by_class(y, count), count), importance.smoothing), axis
        if takes == "labels" and axis is None:
            return Labels(shape, importance.of(lambda: by_label(y), 1), importance.smoothing), 0
    if task in ("multi-label", "regression") and takes == "labels":
        check_shape(answers, end, shape)
        if y.min() < 0 or y.max() > 1:
            message = f"the loss {name} is for labels between 0 and 1, and those of {answers.name!r} go from {y.min():g} to {y.max():g}"
            raise UsageError(message)
        return Labels(shape, importance.of(lambda: by_label(y), 1), importance.smoothing), 0
    if task == "regression" and takes == "numbers":
        return numbers(answers, end, shape), 0
    if task == "regression" and takes in ("vectors", "distribution") and shape:
        check_shape(answers, end, shape)
        axis = len(shape) - 1 if end.axis is None or takes == "vectors" else end.axis
        return AsTheyAre(shape, shape[:axis] + shape[axis + 1 :]), axis
    wanted = {
        "distribution": "classes, with an output for each of them",
        "logits": "the outputs of a teacher (--teacher start or a file)",
        "labels": "labels that are there or are not, or two classes and one output",
        "numbers": "numbers to predict",
        "vectors": "vectors to predict",
        "nothing": "nothing",
    }[takes]
    message = f"the loss {name} is for {wanted}, and {answers.name!r} is of the task {task}"
    raise UsageError(message)


def check_labels(data: Dataset) -> None:
    """See that classes are those that there are, whatever made the data: another one would be taken for one of them.

    Raises:
        DataError: They are not.
    """
    parts: tuple[tuple[str, Split], ...] = (("training", data.train), ("validation", data.validation))
    kinds = data.several or {"": LabelKind(data.task, data.classes)}
    for part, split in parts:
        for output, kind in kinds.items():
            _check_part(split.y[output] if output else split.y, kind, part)


def _check_part(y: Array, kind: LabelKind, part: str) -> None:
    if kind.task != "classification" and len(y):
        return
    lowest = 0 if y.ndim == 1 else np.iinfo(np.int64).min
    if (
        len(y) == 0
        or not np.issubdtype(y.dtype, np.integer)
        or int(y.min()) < lowest
        or int(y.max()) >= len(kind.classes)
    ):
        bounds = f"{y.dtype} from {y.min()} to {y.max()}" if len(y) else "missing"
        message = f"labels of the {part} part are {bounds}; they must be integers from 0 to {len(kind.classes) - 1}"
        raise DataError(message)


def _misfit(answers: Answers, what: str, expected: tuple[int, ...], end: Head, shape: tuple[int, ...]) -> str:
    return (
        f"{answers.name!r} has {what}, so the output of the model that is trained must be "
        f"({', '.join(['batch', *map(str, expected)])}), but output {end.output!r} is {written((None, *shape))}"
    )
