"""What is to be learnt from a data set, as a user says it: a loss, a teacher, or both."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from pysurgeon.data import Dataset
from pysurgeon.errors import DataError, UsageError
from pysurgeon.model import Model, load
from pysurgeon.training.losses.making import make_metric, own_inputs
from pysurgeon.training.losses.metrics import METRICS, NEGATIVE
from pysurgeon.training.losses.own import exported, function_of, inputs_of, of_file
from pysurgeon.training.losses.wanted import Wanted, parse
from pysurgeon.training.task.binding import fit_input, output_shape
from pysurgeon.training.task.teacher import Teacher
from pysurgeon.training.task.training_data import TrainingData

START = "start"


def teacher_named(name: str | os.PathLike[str] | None, start: Model) -> Teacher | None:
    """The teacher that a user names: `start` for the model as it is given, or a file; `None` for none.

    Raises:
        ModelError: The file is no model that can be used.
        DataError: It cannot be fed batches of any size.
    """
    if name is None:
        return None
    return Teacher(start, START) if name == START else Teacher(load(Path(name)), str(name))


def with_goal(data: Dataset, model: Model, loss: str | None, teacher: Teacher | None) -> Dataset:
    """The same samples with what is to be learnt; the data as it is where its labels say that.

    Args:
        data: The samples; data that has a goal already keeps it.
        model: That is to learn; not modified.
        loss: As written (`pysurgeon.training.losses.wanted`), `None` for the usual one.
        teacher: Whose outputs are the targets, `None` where labels are.

    Raises:
        UsageError: There is no such loss, or it takes what there is not.
        DataError: The data does not fit the model.
    """
    if isinstance(data, TrainingData) or (loss is None and teacher is None):
        return data
    wanted = () if loss is None else parse(loss)
    goal = TrainingData.of(data, wanted, {}, teacher, METRICS["unlabelled"] if teacher is not None else NEGATIVE)
    goal = replace(goal, graphs={w.name: _graph(w, model, goal) for w in wanted if w.own})
    if data.task == "unlabelled":
        return goal
    # Accuracy and the like where the labels are of that kind; losses of the user's own may make anything of them.
    scored = replace(goal, metric=METRICS[data.task])
    try:
        make_metric(model, scored)
    except (DataError, UsageError):
        return goal
    return scored


def _graph(wanted: Wanted, model: Model, data: TrainingData) -> bytes:
    """A loss of the user's own, as an ONNX message."""
    if wanted.name.endswith(".onnx"):
        return bytes(of_file(wanted.name).SerializeToString())
    function = function_of(wanted.name)
    inputs = fit_input(model, data).inputs
    samples, _ = own_inputs(
        model, data, wanted, list(inputs_of(function)), lambda output: output_shape(model, output, inputs)
    )
    return bytes(exported(wanted.name, function, samples).SerializeToString())
