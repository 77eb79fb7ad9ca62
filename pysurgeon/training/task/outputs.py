"""Which output of a model the labels are of: the one that somebody names, or the first that they fit; and what number each label is there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pysurgeon.data import Dataset
from pysurgeon.errors import DataError, UsageError
from pysurgeon.model import Model
from pysurgeon.training.losses.answers import answers_of, check_shape, class_axis
from pysurgeon.training.task.binding import fit_input, output_shape
from pysurgeon.training.task.head import Head, head, learnable_outputs

_SHOWN = 12


def with_output(model: Model, data: Dataset) -> Dataset:
    """The data set with the output that its labels are of, and what is to be said of it.

    Args:
        model: The model.
        data: The data set; where it names an output, that is kept.

    Raises:
        UsageError: There is no such output, or the labels themselves say which outputs they are of.
        DataError: The samples do not fit the inputs.
        ModelError: No output can be learnt.
    """
    if data.output and data.several:
        message = f"the labels of {data.name!r} are of the outputs {', '.join(data.several)}; leave out --output-name"
        raise UsageError(message)
    if data.several or data.task == "unlabelled":
        return data
    if data.output:
        end = head(model, data.task, data.output)
        return _told(data, end)
    choices = _choices(model, data)
    fitting = [end for end in choices if len(choices) > 1 and _fits(model, data, end)]
    if not fitting or fitting == choices[:1]:
        return _told(data, choices[0])
    names = ", ".join(end.output for end in fitting)
    why = "the first of those that they fit" if fitting[1:] else "the only one that they fit"
    more = f" ({names}); --output-name takes another" if fitting[1:] else ""
    note = f"the labels are of output {fitting[0].output!r}, {why}{more}"
    return _told(replace(data, output=fitting[0].output, notes=(*data.notes, note)), fitting[0])


def with_classes_that_there_are(model: Model, data: Dataset) -> Dataset:
    """The data set without classes that no part has a sample of, if the outputs are as many as the others: labels from 1, or with gaps."""
    if data.task != "classification" or data.order == "given" or not data.nameless:
        return data
    there = np.unique(np.concatenate([part.y.reshape(-1) for part in (data.train, data.validation, data.test)]))
    there = there[there >= 0]
    fewer = 2 <= len(there) < len(data.classes)
    if not fewer or any(_fits(model, data, end) for end in _choices(model, data)):
        return data
    names = tuple(data.classes[k] for k in there)
    numbers = np.full(len(data.classes) + 1, -1, np.int64)  # the last is that of places without a class
    numbers[there] = np.arange(len(there))
    listed = f"{names[0]} to {names[-1]}" if len(names) == int(there[-1] - there[0]) + 1 else ", ".join(names[:_SHOWN])
    note = f"labels {listed}{', ...' if ',' in listed and names[_SHOWN:] else ''} are counted from 0: label {names[0]} is output 0"
    train, validation, test = (replace(p, y=numbers[p.y]) for p in (data.train, data.validation, data.test))
    moved = replace(data, train=train, validation=validation, test=test, classes=names, notes=(*data.notes, note))
    return moved if any(_fits(model, moved, end) for end in _choices(model, moved)) else data


def _choices(model: Model, data: Dataset) -> list[Head]:
    """The ends that labels may be of. Classes that are picked from what another output gives are no further choice."""
    if data.output:
        return [head(model, data.task, data.output)]
    return [head(model, data.task, name) for name in learnable_outputs(model)]


def _fits(model: Model, data: Dataset, end: Head) -> bool:
    answers = answers_of(data)
    try:
        shape = output_shape(model, end.logits, fit_input(model, data).inputs)
        if data.task == "classification":
            class_axis(answers, end, shape)
        else:
            check_shape(answers, end, shape)
    except DataError:
        return False
    return True


def _told(data: Dataset, end: Head) -> Dataset:
    """With a note where the output holds no floats that could be learnt themselves."""
    if not end.pick:
        return data
    note = f"{end.pick} before output {end.output!r} is left out of the training and stays in the file"
    return replace(data, notes=(*data.notes, note))
