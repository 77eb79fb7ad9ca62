"""From what is wanted to a loss: each term matched with an output of the model, and with labels or with what a teacher gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import prod

import numpy as np

from pysurgeon.data import Dataset, Split, Task
from pysurgeon.errors import DataError, UsageError
from pysurgeon.graph import Model
from pysurgeon.training.fit import Fit, fit_input, output_shape, written
from pysurgeon.training.head import Head, float_outputs, head
from pysurgeon.training.losses.graphs import of_proto, of_shipped, places_of
from pysurgeon.training.losses.loss import Loss, Taken, Term
from pysurgeon.training.losses.metrics import (
    METRICS,
    NEGATIVE,
    Accuracy,
    Determination,
    LabelAccuracy,
    Metric,
)
from pysurgeon.training.losses.own import Sample, roles
from pysurgeon.training.losses.shipped import ENDS, LOSSES
from pysurgeon.training.losses.targets import (
    AsTheyAre,
    Classes,
    Fed,
    Labels,
    Numbers,
    Targets,
    Taught,
    sigmoid,
    softmax,
)
from pysurgeon.training.losses.wanted import Wanted
from pysurgeon.training.losses.weights import ClassWeights, Importance, by_class, by_label, importance
from pysurgeon.training.teacher import Teacher
from pysurgeon.training.training_data import TrainingData

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
    _check_labels(data)
    maker = _Maker(model, data, importance(data, teacher_of(data) is not None, class_weights, smoothing))
    wanted = data.wanted if isinstance(data, TrainingData) else ()
    terms = [maker.term(w) for w in wanted or default(model, data, maker)]
    return Loss(tuple(maker.taken), tuple(terms))


def plain_loss(name: str, targets: Targets) -> Loss:
    """A loss of the registry on the first output that a training view has, for whoever has no data set.

    Args:
        name: In the registry.
        targets: What is made of labels; vectors are along the axis of the classes, or the last one.
    """
    axis = targets.axis if isinstance(targets, Classes) else max(0, len(targets.shape) - 1)
    inputs: dict[str, Sample] = {"output": (_FLOAT, targets.shape), "target": (_FLOAT, targets.shape)}
    graph = of_shipped(name, {}, 1 + axis, inputs, None)
    return Loss((Taken("regression", "", ""),), (Term(graph, {"output": 0}, targets),))


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
    end = head(model, data.task)
    shape = maker.shape(end.output)
    if data.task == "classification":
        return Accuracy(end.logits, _class_axis(data, end, shape))
    if data.task == "multi-label":
        _check_shape(data, end, shape)
        return LabelAccuracy(end.logits)
    return Determination({end.logits: maker.labelled_numbers(end, shape)}, {})


def _fidelity(maker: _Maker, model: Model, name: str) -> Metric:
    """How much of what a teacher's outputs vary by is reproduced: over all outputs that it shares with the model."""
    assert maker.teacher is not None
    theirs = float_outputs(maker.teacher.model)
    shared = [o for o in float_outputs(model) if o in theirs] or float_outputs(model)[:1]
    ends = {o: maker.taught_end(o, "regression", maker.shape(o)).logits for o in shared}
    units = {o: maker.taught_numbers(value, maker.shape(o)) for o, value in ends.items()}
    return Determination(units, ends, name)


def default(model: Model, data: Dataset, maker: _Maker) -> tuple[Wanted, ...]:
    """The usual loss: by what the labels are, or, of a teacher, by what each output is.

    Raises:
        DataError: There are neither labels nor a teacher.
    """
    if maker.teacher is not None:
        theirs = float_outputs(maker.teacher.model)
        shared = [o for o in float_outputs(model) if o in theirs] or float_outputs(model)[:1]
        return tuple(Wanted(_of_output(model, data, o, maker.teacher), o, 1.0 / len(shared)) for o in shared)
    if data.task == "classification":
        end = head(model, data.task)
        return (Wanted("binary" if _class_axis(data, end, maker.shape(end.output)) is None else "cross-entropy"),)
    if data.task == "unlabelled":
        message = f"{data.name!r} has no labels; give a teacher, whose outputs are learnt (--teacher start or a file), or labels as y_train"
        raise DataError(message)
    return (Wanted("binary" if data.task == "multi-label" else "squares"),)


def _of_output(model: Model, data: Dataset, output: str, teacher: Teacher) -> str:
    """What a teacher's output is learnt by: probabilities as such, whatever else as numbers."""
    ends = [
        head(m, "classification", o).operator
        for m, o in ((model, output), (teacher.model, teacher_output(teacher, output)))
    ]
    if output == float_outputs(model)[0] and not any(ends):  # the labels say what the logits are
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
        """Of an output, for a sample."""
        if output not in self._shapes:
            self._shapes[output] = output_shape(self.model, output, self._fit.inputs)
        return self._shapes[output]

    def term(self, wanted: Wanted) -> Term:
        """A term as it is wanted."""
        return self._own(wanted) if wanted.own else self._shipped(wanted)

    def labelled_numbers(self, end: Head, shape: tuple[int, ...]) -> Numbers:
        """Labels as numbers, in units of their deviation over the training part."""
        _check_shape(self.data, end, shape)
        y = self.data.train.y
        mean = y.mean(axis=0, keepdims=True, dtype=np.float64)
        deviation = y.std(axis=0, keepdims=True, dtype=np.float64)
        deviation = np.where(deviation > 1e-7 * np.abs(mean), deviation, 1.0)
        return Numbers(shape, mean.reshape(1, *shape), deviation.reshape(1, *shape))

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
        theirs = output_shape(self.teacher.model, end.output, fit_input(self.teacher.model, self.data).inputs)
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
        end = head(self.model, task, wanted.output)
        if loss.takes == "nothing":
            return self._itself(wanted, end)
        shape = self.shape(end.output)
        if self.teacher is not None:
            theirs = self.taught_end(end.output, task, shape)
            targets, axis = self._taught(
                wanted.name, shape, theirs.axis if end.axis is None else end.axis, theirs.logits
            )
        else:
            targets, axis = self._labelled(wanted.name, end, shape)
        numbers = targets.targets if isinstance(targets, Taught) else targets
        unit = (numbers.mean, numbers.deviation) if isinstance(numbers, Numbers) else None
        inputs: dict[str, Sample] = {"output": (_FLOAT, shape), "target": (_FLOAT, targets.shape)}
        graph = of_shipped(wanted.name, wanted.parameters, 1 + axis, inputs, unit)
        wire = "output" if unit is None else "value"
        return Term(graph, {wire: self._take(end, task)}, targets, factor=wanted.factor)

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
        """Targets made of labels, and the axis of vectors.

        Raises:
            UsageError: The loss is for other labels.
        """
        takes, data = LOSSES[name].takes, self.data
        y = data.train.y
        if data.task == "unlabelled":
            default(self.model, data, self)  # says what is missing
        if takes == "distribution" and data.task == "classification":
            axis = _class_axis(data, end, shape)
            if axis is not None:
                weights = self.importance.of(lambda: by_class(y, len(data.classes)), len(data.classes))
                return Classes(shape, axis, weights, self.importance.smoothing), axis
        if takes == "labels" and data.task == "classification" and _class_axis(data, end, shape) is None:
            return Labels(shape, self.importance.of(lambda: by_label(y), 1), self.importance.smoothing), 0
        if takes == "labels" and data.task in ("multi-label", "regression"):
            _check_shape(data, end, shape)
            if y.min() < 0 or y.max() > 1:
                message = f"the loss {name} is for labels between 0 and 1, and those of {data.name!r} go from {y.min():g} to {y.max():g}"
                raise UsageError(message)
            return Labels(shape, self.importance.of(lambda: by_label(y), 1), self.importance.smoothing), 0
        if takes in ("numbers", "vectors", "distribution") and data.task == "regression":
            _check_shape(data, end, shape)
            if takes == "numbers":
                return self.labelled_numbers(end, shape), 0
            if shape:
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
        message = f"the loss {name} is for {wanted}, and {data.name!r} is of the task {data.task}"
        raise UsageError(message)

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
        labels = {name: samples[name] for name, role in takes.items() if role == "target"}
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
    if wanted.output:
        floats = [head(model, "regression", wanted.output).output, *(o for o in floats if o != wanted.output)]
    takes = roles(names, floats, taught=teacher_of(data) is not None)
    samples: dict[str, Sample] = {}
    for name, role in takes.items():
        kind, _, output = role.partition(":")
        if kind == "target":
            if data.task == "unlabelled":
                message = f"the loss {wanted.name} takes labels ({name}), and {data.name!r} has none"
                raise UsageError(message)
            samples[name] = data.train.y.dtype, data.train.y.shape[1:]
            continue
        if kind == "teacher" and teacher_of(data) is None:
            message = f"the loss {wanted.name} takes what a teacher gives ({name}); give one: --teacher start or a file"
            raise UsageError(message)
        samples[name] = _FLOAT, shape(output)
    return samples, takes


def _check_shape(data: Dataset, end: Head, shape: tuple[int, ...]) -> None:
    """See that labels that are no classes have the shape of the output, but for axes of size 1."""
    labels = data.train.y.shape[1:]
    if shape == labels or (prod(shape) == prod(labels) and 1 in (*shape, *labels)):
        return
    what = {
        "multi-label": f"{len(data.classes)} labels a sample",
        "regression": "labels that are no class numbers, hence numbers to predict",
    }[data.task]
    raise DataError(_misfit(data, what, labels, end, shape))


def _class_axis(data: Dataset, end: Head, shape: tuple[int, ...]) -> int | None:
    """The axis of a sample's logits that the classes are along, `None` where two classes are told by one logit.

    Raises:
        DataError: Labels and output do not fit.
    """
    places, classes = data.train.y.shape[1:], len(data.classes)
    fitting = [k for k, size in enumerate(shape) if size == classes and shape[:k] + shape[k + 1 :] == places]
    if end.axis in fitting:
        return end.axis
    if fitting:
        # Pixels have their classes first, as channels; tokens have them last. They differ where there are as many places as classes.
        return fitting[0] if len(places) > 1 else fitting[-1]
    if classes == 2 and tuple(d for d in shape if d != 1) == tuple(d for d in places if d != 1):
        return None
    what = f"{classes} classes" + (f" at {'x'.join(map(str, places))} places" if places else "")
    raise DataError(_misfit(data, what, (*places, classes) if len(places) < 2 else (classes, *places), end, shape))


def _misfit(data: Dataset, what: str, expected: tuple[int, ...], end: Head, shape: tuple[int, ...]) -> str:
    return (
        f"{data.name!r} has {what}, so the output of the model that is trained must be "
        f"({', '.join(['batch', *map(str, expected)])}), but output {end.output!r} is {written((None, *shape))}"
    )


def _check_labels(data: Dataset) -> None:
    # Whatever made the data: a class that there is not would be taken for another one.
    parts: tuple[tuple[str, Split], ...] = (("training", data.train), ("validation", data.validation))
    for part, split in parts:
        y = split.y
        if data.task != "classification" and len(y):
            continue
        lowest = 0 if y.ndim == 1 else np.iinfo(np.int64).min
        if (
            len(y) == 0
            or not np.issubdtype(y.dtype, np.integer)
            or int(y.min()) < lowest
            or int(y.max()) >= len(data.classes)
        ):
            bounds = f"{y.dtype} from {y.min()} to {y.max()}" if len(y) else "missing"
            message = f"labels of the {part} part are {bounds}; they must be integers from 0 to {len(data.classes) - 1}"
            raise DataError(message)
