"""From what is wanted to a loss: each term matched with an output of the model, and with labels or with what a teacher gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from pysurgeon.data import Dataset, Task
from pysurgeon.errors import DataError, UsageError
from pysurgeon.model import Model
from pysurgeon.settings import ClassWeights
from pysurgeon.training.losses.answers import (
    Answers,
    answers_of,
    check_labels,
    check_shape,
    class_axis,
    numbers,
    targets,
)
from pysurgeon.training.losses.graphs import of_proto, of_shipped, places_of
from pysurgeon.training.losses.loss import Loss, Taken, Term
from pysurgeon.training.losses.metrics import (
    METRICS,
    NEGATIVE,
    Accuracy,
    Determination,
    LabelAccuracy,
    Metric,
    Several,
)
from pysurgeon.training.losses.own import Sample, roles
from pysurgeon.training.losses.shipped import ENDS, LOSSES
from pysurgeon.training.losses.targets import (
    AsTheyAre,
    Classes,
    Fed,
    Labels,
    Numbers,
    Picked,
    Targets,
    Taught,
    sigmoid,
    softmax,
)
from pysurgeon.training.losses.wanted import Wanted
from pysurgeon.training.losses.weights import Importance, importance
from pysurgeon.training.task.binding import Fit, fit_input, output_shape, written
from pysurgeon.training.task.head import Head, float_outputs, head, learnable_outputs
from pysurgeon.training.task.teacher import Teacher
from pysurgeon.training.task.training_data import TrainingData

_FLOAT = np.dtype(np.float32)


def make_loss(model: Model, data: Dataset, *, class_weights: ClassWeights = "none", smoothing: float = 0.0) -> Loss:
    """The loss that a model is trained with on some data.

    Args:
        model: Gives what is compared.
        data: Its task says what the loss is, unless it comes with a loss or a teacher (`TrainingData`). Class weights and the units of numbers
            come from its training part.
        class_weights: `balanced` makes up for classes and labels that are rare.
        smoothing: Share of a label that is spread over all classes.

    Raises:
        DataError: Labels, or what the teacher gives, do not fit the output.
        ModelError: The model has no output of floats.
        UsageError: Weights or smoothing are asked for where there are no classes, or the loss does not take what there is.
    """
    check_labels(data)
    maker = _Maker(model, data, importance(data, teacher_of(data) is not None, class_weights, smoothing))
    wanted = data.wanted if isinstance(data, TrainingData) else ()
    terms = [maker.term(w) for w in wanted or default(model, data, maker)]
    return Loss(tuple(maker.taken), tuple(terms))


def plain_loss(name: str, made: Targets) -> Loss:
    """A loss of the registry on the first output that a training graph has, for whoever has no data set.

    Args:
        name: In the registry.
        made: Targets; vectors are along the axis of the classes, or the last one.
    """
    axis = made.axis if isinstance(made, Classes) else max(0, len(made.shape) - 1)
    inputs: dict[str, Sample] = {"output": (_FLOAT, made.shape), "target": (_FLOAT, made.shape)}
    graph = of_shipped(name, {}, 1 + axis, inputs, None)
    return Loss((Taken("regression", "", ""),), (Term(graph, {"output": 0}, made),))


def teacher_of(data: Dataset) -> Teacher | None:
    """Whose outputs are the targets, if it is not the labels."""
    return data.teacher if isinstance(data, TrainingData) else None


def metric(data: Dataset) -> str:
    """What scores on a data set are called."""
    return data.metric if isinstance(data, TrainingData) else METRICS[data.task]


def make_metric(model: Model, data: Dataset) -> Metric | None:
    """What the data is scored by: its labels where there are any that a metric is for, else the teacher; `None` for the negative loss."""
    name = metric(data)
    if name == NEGATIVE:
        return None
    maker = _Maker(model, data, Importance())
    if name == METRICS["unlabelled"]:
        return _fidelity(maker, model, name)
    if data.several:
        return Several({output: _labelled_metric(maker, answers_of(data, output)) for output in data.several})
    return _labelled_metric(maker, answers_of(data))


def _labelled_metric(maker: _Maker, answers: Answers) -> Metric:
    """What labels of an output are scored by."""
    end = head(maker.model, answers.task, answers.output or maker.data.output)
    shape = maker.shape(end.logits)
    if answers.task == "classification":
        return Accuracy(end.logits, class_axis(answers, end, shape))
    if answers.task == "multi-label":
        check_shape(answers, end, shape)
        return LabelAccuracy(end.logits)
    return Determination({end.logits: numbers(answers, end, shape)}, {})


def _fidelity(maker: _Maker, model: Model, name: str) -> Metric:
    """How much of what a teacher's outputs vary by is reproduced: over all outputs that it shares with the model."""
    assert maker.teacher is not None
    theirs = learnable_outputs(maker.teacher.model)
    shared = [o for o in learnable_outputs(model) if o in theirs] or learnable_outputs(model)[:1]
    values = {o: head(model, "regression", o).logits for o in shared}
    ends = {v: maker.taught_end(o, "regression", maker.shape(v)).logits for o, v in values.items()}
    units = {v: maker.taught_numbers(theirs, maker.shape(v)) for v, theirs in ends.items()}
    return Determination(units, ends, name)


def default(model: Model, data: Dataset, maker: _Maker) -> tuple[Wanted, ...]:
    """The usual loss: by what the labels are, or, of a teacher, by what each output is.

    Raises:
        DataError: There are neither labels nor a teacher.
    """
    if maker.teacher is not None:
        theirs = learnable_outputs(maker.teacher.model)
        shared = [o for o in learnable_outputs(model) if o in theirs] or learnable_outputs(model)[:1]
        return tuple(Wanted(_of_output(model, data, o, maker.teacher), o, 1.0 / len(shared)) for o in shared)
    if data.task == "unlabelled":
        raise DataError(_no_labels(data))
    every = [answers_of(data, output) for output in data.several or ("",)]
    return tuple(Wanted(_of_labels(maker, answers), answers.output) for answers in every)


def _no_labels(data: Dataset) -> str:
    return f"{data.name!r} has no labels; give a teacher, whose outputs are learnt (--teacher start or a file), or labels as y_train"


def _of_labels(maker: _Maker, answers: Answers) -> str:
    """What labels are usually learnt by."""
    if answers.task == "classification":
        end = head(maker.model, answers.task, answers.output or maker.data.output)
        return "binary" if class_axis(answers, end, maker.shape(end.logits)) is None else "cross-entropy"
    return "binary" if answers.task == "multi-label" else "squares"


def _of_output(model: Model, data: Dataset, output: str, teacher: Teacher) -> str:
    """What a teacher's output is learnt by: probabilities as such, whatever else as numbers."""
    ends = [
        head(m, "classification", o).operator
        for m, o in ((model, output), (teacher.model, teacher_output(teacher, output)))
    ]
    if output == (data.output or float_outputs(model)[0]) and not any(ends):  # the labels say what the logits are
        ends = {"classification": ["Softmax"], "multi-label": ["Sigmoid"]}.get(data.task, ends)
    if "Sigmoid" in ends:
        return "binary"
    return "kl" if any(ends) else "squares"


def teacher_output(teacher: Teacher, output: str) -> str:
    """The output of a teacher that is compared with one of the model: that of the same name, or the only one there is.

    Raises:
        DataError: There is none.
    """
    floats = float_outputs(teacher.model)
    if output in floats:
        return output
    if len(floats) == 1:
        return floats[0]
    message = f"the teacher {teacher.name} has no output {output!r}; it has {', '.join(floats)}"
    raise DataError(message)


@dataclass
class _Maker:
    """Terms for one model.

    Attributes:
        model: The model.
        data: The data.
        importance: What classes and labels count.
        taken: Values of the model that terms are taken on so far.
    """

    model: Model
    data: Dataset
    importance: Importance
    taken: list[Taken] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._fit: Fit = fit_input(self.model, self.data)
        self._shapes: dict[str, tuple[int, ...]] = {}
        self.teacher = teacher_of(self.data)

    def shape(self, output: str) -> tuple[int, ...]:
        """Of an output or of a value inside, for a sample."""
        if output not in self._shapes:
            self._shapes[output] = output_shape(self.model, output, self._fit.inputs)
        return self._shapes[output]

    def term(self, wanted: Wanted) -> Term:
        """A term as it is wanted."""
        return self._own(wanted) if wanted.own else self._shipped(wanted)

    def taught_numbers(self, value: str, shape: tuple[int, ...]) -> Numbers:
        """A teacher's value as numbers, in units of their deviation."""
        assert self.teacher is not None
        return Numbers(shape, *self.teacher.unit(self.data, value, shape))

    def taught_end(self, output: str, task: Task, shape: tuple[int, ...]) -> Head:
        """The end of the teacher that is compared with an output.

        Raises:
            DataError: It has another shape.
        """
        assert self.teacher is not None
        end = head(self.teacher.model, task, teacher_output(self.teacher, output))
        theirs = output_shape(self.teacher.model, end.logits, fit_input(self.teacher.model, self.data).inputs)
        if theirs != shape:
            message = (
                f"output {output!r} of the model is {written((None, *shape))}, and that of the teacher {self.teacher.name} is "
                f"{written((None, *theirs))}; they must have one shape"
            )
            raise DataError(message)
        return end

    def _take(self, end: Head, task: Task) -> int:
        new = Taken(task, end.output, end.logits, end.nodes)
        for k, known in enumerate(self.taken):
            if known.value == new.value:
                return k
        self.taken.append(new)
        return len(self.taken) - 1

    def _shipped(self, wanted: Wanted) -> Term:
        loss = LOSSES[wanted.name]
        task = ENDS[loss.takes]
        end = head(self.model, task, wanted.output or self.data.output)
        if loss.takes == "nothing":
            return self._itself(wanted, end)
        shape = self.shape(end.logits)
        if self.teacher is not None:
            theirs = self.taught_end(end.output, task, shape)
            made, axis = self._taught(wanted.name, shape, theirs.axis if end.axis is None else end.axis, theirs.logits)
        else:
            made, axis = self._labelled(wanted.name, end, shape)
        inner = made.targets if isinstance(made, (Taught, Picked)) else made
        unit = (inner.mean, inner.deviation) if isinstance(inner, Numbers) else None
        inputs: dict[str, Sample] = {"output": (_FLOAT, shape), "target": (_FLOAT, made.shape)}
        graph = of_shipped(wanted.name, wanted.parameters, 1 + axis, inputs, unit)
        wire = "output" if unit is None else "value"
        return Term(graph, {wire: self._take(end, task)}, made, factor=wanted.factor)

    def _taught(self, name: str, shape: tuple[int, ...], axis: int | None, value: str) -> tuple[Targets, int]:
        """Targets that a teacher gives, and the axis of vectors."""
        takes = LOSSES[name].takes
        if takes == "numbers":
            return Taught(self.taught_numbers(value, shape), value), 0
        if takes == "labels":
            return Taught(Labels(shape), value, sigmoid), 0
        if not shape:
            message = f"the loss {name} compares vectors, and the output is one number a sample; take another one, such as squares"
            raise UsageError(message)
        if axis is None or takes == "vectors":
            # As models of images have their classes in the place of channels.
            axis = 0 if takes != "vectors" and len(shape) == 3 else len(shape) - 1
        places = shape[:axis] + shape[axis + 1 :]
        if takes == "distribution":
            return Taught(AsTheyAre(shape, places), value, partial(softmax, axis=1 + axis)), axis
        return Taught(AsTheyAre(shape, places), value), axis

    def _labelled(self, name: str, end: Head, shape: tuple[int, ...]) -> tuple[Targets, int]:
        """Targets made of labels, and the axis of vectors."""
        answers = answers_of(self.data, end.output)
        if answers.task == "unlabelled":
            raise DataError(_no_labels(self.data))
        made, axis = targets(name, answers, end, shape, self.importance)
        return (Picked(made, answers.output) if answers.output else made), axis

    def _itself(self, wanted: Wanted, end: Head) -> Term:
        """An output that is the loss."""
        declared = next(v for v in self.model.ir.graph.outputs if v.name == end.output).shape
        scalar = declared is not None and len(declared) == 0
        shape = () if scalar else self.shape(end.output)
        graph = of_shipped(wanted.name, {}, 1, {"output": (_FLOAT, shape)}, None)
        return Term(graph, {"output": self._take(end, "regression")}, Fed(shape), scalar, wanted.factor)

    def _own(self, wanted: Wanted) -> Term:
        """A loss of the user's own."""
        assert isinstance(self.data, TrainingData)
        proto = self.data.proto(wanted.name)
        held = {i.name for i in proto.graph.initializer}
        names = [i.name for i in proto.graph.input if i.name not in held]
        samples, takes = own_inputs(self.model, self.data, wanted, names, self.shape)
        graph = of_proto(wanted.name, proto, samples)
        places = places_of(wanted.name, graph, samples)
        values = {
            name: self._take(head(self.model, "regression", role.partition(":")[2]), "regression")
            for name, role in takes.items()
            if role.startswith("output:")
        }
        labels = {
            name: (*samples[name], role.partition(":")[2]) for name, role in takes.items() if role.startswith("target")
        }
        taught = {
            name: self.taught_end(role.partition(":")[2], "regression", samples[name][1]).logits
            for name, role in takes.items()
            if role.startswith("teacher:")
        }
        return Term(graph, values, Fed(places or (), labels, taught), places is None, wanted.factor)


def own_inputs(
    model: Model, data: Dataset, wanted: Wanted, names: list[str], shape: Callable[[str], tuple[int, ...]]
) -> tuple[dict[str, Sample], dict[str, str]]:
    """What the inputs of a user's own loss are fed: types and sample shapes, and roles (`pysurgeon.training.losses.own.roles`).

    Raises:
        UsageError: It takes labels or a teacher where there are none, or nobody knows what an input takes.
    """
    floats = float_outputs(model)
    if first := wanted.output or data.output:
        floats = [head(model, "regression", first).output, *(o for o in floats if o != first)]
    takes = roles(names, floats, taught=teacher_of(data) is not None, several=data.several)
    samples: dict[str, Sample] = {}
    for name, role in takes.items():
        kind, _, output = role.partition(":")
        if kind == "target":
            if data.task == "unlabelled":
                message = f"the loss {wanted.name} takes labels ({name}), and {data.name!r} has none"
                raise UsageError(message)
            if data.several and not output:
                message = (
                    f"the loss {wanted.name} takes labels ({name}), and {data.name!r} has those of several outputs; call the input "
                    f"target_OUTPUT: {', '.join(f'target_{o}' for o in data.several)}"
                )
                raise UsageError(message)
            y = answers_of(data, output).y
            samples[name] = y.dtype, y.shape[1:]
            continue
        if kind == "teacher" and teacher_of(data) is None:
            message = f"the loss {wanted.name} takes what a teacher gives ({name}); give one: --teacher start or a file"
            raise UsageError(message)
        samples[name] = _FLOAT, shape(head(model, "regression", output).logits)
    return samples, takes
