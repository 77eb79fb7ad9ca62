"""How a model wants to be fed: its file says so, or it shows.

Unless the user has chosen:

- what the file says is done, about the input and about the order of its outputs;
- of the usual normalizations, the one under which a trained network does best is taken. A network counts as trained if under one of
  them its loss is below that of who knows how frequent the labels are, and no more; or by its weights (`looks_trained`);
- everything else is standardized: images per channel, tables per column, sequences of floats per feature.

A network that looks trained and answers badly in every way is a caution, and so is one that would answer well if the classes were in another
order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from pysurgeon.data import Batches, Dataset, LabelKind, Normalization, Normalize, Split, fit_normalization, read_names
from pysurgeon.errors import DataError
from pysurgeon.graph import Array
from pysurgeon.model import Model
from pysurgeon.training.task.binding import fit_input
from pysurgeon.training.task.evaluate import answers, evaluate
from pysurgeon.training.task.input_normalization import TITLES, said_names, said_normalization, same, usual_ways
from pysurgeon.training.task.order import Order, best_positions, found_order
from pysurgeon.training.task.outputs import with_classes_that_there_are, with_output
from pysurgeon.training.task.teacher import Teacher
from pysurgeon.training.task.trained import looks_trained

# Training samples that a network shows on what it expects, and on the order of its classes: so many, and as many a class.
_SAMPLES = 128
_MORE, _A_CLASS, _MOST = 512, 10, 2048
# The share of what labels alone tell that a network has to save before it counts as trained, and of what a guess gets wrong that it has to get
# right before it counts as doing well, however sure it is of what it gets wrong.
_SKILL, _WELL = 0.05, 0.4
# Of the loss of a guess, what the order has to leave where nothing else shows that a model is trained.
_SURE = 0.6
# Share of the samples that another order has to be worth before it is looked into.
_WORTH = 0.05
_SHOWN = 20

FITS = "chosen"
"""What the one way is called that nobody has to be asked about."""

Ways = Mapping[str, Normalization | None]


@dataclass(frozen=True, eq=False)
class _Look:
    """How a model does on a few samples.

    Attributes:
        loss: Its mean.
        accuracy: The mean score.
        answers: int64 ``(n,)``, the largest output of each; of one class a sample.
        y: The targets ``(n, ...)``.
        loss_of: The loss if these were the targets.
    """

    loss: float
    accuracy: float
    answers: Array
    y: Array
    loss_of: Callable[[Array], float]


def as_expected(model: Model, data: Dataset, teacher: Teacher | None = None) -> Dataset:
    """The data set as a model expects it, as far as the user has left that open, with cautions where it answers badly.

    Args:
        model: The model.
        data: The data set.
        teacher: Is fed the same; what its file says holds where the model's says nothing.

    Raises:
        DataError: The data does not fit the model, or not what its file says, the files of model and teacher say different things, or no order
            is found that was asked for.
    """
    if data.settled:
        return data
    match = data.order == "match"
    data = with_output(model, _in_said_order(model, with_classes_that_there_are(model, data)))
    ways, note = _ways(model, data, teacher)
    if data.task == "unlabelled":  # by which nothing more can be told
        return _decided(data, ways, next(iter(ways)), note)
    looks_it = looks_trained(model)
    if len(ways) == 1 and not looks_it and not match:
        return _decided(data, ways, next(iter(ways)), note)
    few = _few(data, _SAMPLES)
    looks = {name: _look(model, few, numbers) for name, numbers in ways.items()}
    best, well = _best(looks, few, looks_it=looks_it)
    orders = _orders(model, data, ways, looks, [best] if well else list(ways), sure=looks_it or well)
    if orders:
        best = max(orders, key=lambda name: orders[name].accuracy)
    table = _table(looks, len(few.train))
    if len(ways) > 1 and (well or orders or looks_it):
        why = "in another order of the classes" if orders else f"({table})"
        note = f"{note.format(TITLES[best])}, with which the model as given does best {why}"
    elif len(ways) > 1:
        best = next(iter(ways))
        note = note.format(TITLES[best])
    data = _decided(data, ways, best, note)
    if orders:
        return _in_found_order(data, orders[best], match=match)
    if match and not well:
        message = f"the answers of the model show no order of the classes in which it does well ({table}); give their names with --classes"
        raise DataError(message)
    said = ways.get(FITS) is not None  # nobody doubts what the file says
    return data if well or said or not looks_it else _doubted(model, data, few, ways, table)


def _ways(model: Model, data: Dataset, teacher: Teacher | None) -> tuple[Ways, str]:
    """The normalizations that come into question, by their names, and what is to be noted of the one that is taken."""
    fit = fit_input(model, data)
    if not data.undecided or fit.raw:
        return {FITS: None}, ""
    said = said_normalization(model, data)
    theirs = None if teacher is None else said_normalization(teacher.model, data)
    if said is not None and theirs is not None and teacher is not None and not same(said, theirs):
        message = (
            f"the files of the model and of the teacher {teacher.name} want samples normalized in different ways, and both are fed the same; "
            "say how with --normalize"
        )
        raise DataError(message)
    if said is not None:
        return {FITS: said}, "normalized as the model's file says"
    if theirs is not None:
        return {FITS: theirs}, "normalized as the teacher's file says"
    if data.task == "unlabelled":  # whoever has floats has prepared them
        unit: Normalize = "unit" if data.train.x.dtype == np.uint8 else "none"
        return {FITS: fit_normalization(data.train.x, unit)}, f"fed {TITLES[unit]}, as there are no labels to tell by"
    return usual_ways(data, fit), "fed {}"


def _decided(data: Dataset, ways: Ways, chosen: str, note: str) -> Dataset:
    numbers = ways[chosen]
    if numbers is not None:
        data = data.with_normalization(numbers, note)
    return replace(data, undecided=False, settled=True)


def _few(data: Dataset, count: int) -> Dataset:
    """The same data of a few training samples, drawn at random and not normalized."""
    x, y = Batches(data, min(count, len(data.train)), seed=0, raw=True).batch(0)
    few = Split(next(iter(x.values())), y, x) if isinstance(x, dict) else Split(x, y)
    return replace(data, train=few, validation=few, test=few)


def _look(model: Model, few: Dataset, numbers: Normalization | None) -> _Look:
    if numbers is not None:
        few = replace(few, mean=numbers.mean, std=numbers.std, scale=numbers.scale)
    found = evaluate(model, few, "train")
    y, picked = few.train.y, np.zeros(len(few.train), np.int64)
    if _one_class(few):
        one = np.concatenate([z.reshape(len(z), -1) for z, _ in answers(model, few, "train")])
        picked = one.argmax(axis=1) if one.shape[1] > 1 else (one[:, 0] > 0).astype(np.int64)

    def loss_of(targets: Array) -> float:
        return evaluate(model, replace(few, train=replace(few.train, y=targets)), "train").loss

    return _Look(found.loss, found.accuracy, picked, y, loss_of)


def _one_class(data: Dataset) -> bool:
    """Whether a sample has one class, and no place of it one of its own."""
    return data.task == "classification" and data.train.y.ndim == 1


def _best(looks: Mapping[str, _Look], few: Dataset, *, looks_it: bool) -> tuple[str, bool]:
    """The way in which a model does best, and whether it does well there."""
    by_loss = min(looks, key=lambda name: looks[name].loss if np.isfinite(looks[name].loss) else np.inf)
    if looks[by_loss].loss < (1 - _SKILL) * _guess(few):
        return by_loss, True
    by_score = max(looks, key=lambda name: looks[name].accuracy if np.isfinite(looks[name].accuracy) else -np.inf)
    chance = float(np.bincount(few.train.y).max()) / len(few.train) if _one_class(few) else 1.0
    return by_score, looks_it and looks[by_score].accuracy > chance + _WELL * (1 - chance)


def _orders(
    model: Model, data: Dataset, ways: Ways, looks: Mapping[str, _Look], names: list[str], *, sure: bool
) -> dict[str, Order]:
    """For each of some ways the order of the classes that a model shows then, where that is another one.

    One that is not sure to be trained has to be sure of its answers: who knows nothing gives each class about the same.
    """
    if not _one_class(data):
        return {}
    found, classes, more = {}, len(data.classes), None
    for name in names:
        look = looks[name]
        positions = best_positions(look.answers, look.y, classes)
        if float((positions[look.y] == look.answers).mean()) - look.accuracy < _WORTH:
            continue
        more = more or _few(data, min(_MOST, max(_MORE, _A_CLASS * classes)))
        again = _look(model, more, ways[name])
        order = found_order(again.answers, again.y, classes)
        if order is not None and (sure or again.loss_of(order.positions[again.y]) < _SURE * _guess(more)):
            found[name] = order
    return found


def _in_said_order(model: Model, data: Dataset) -> Dataset:
    """With the classes in the order of the model's file, where it names all of them."""
    names = said_names(model)
    if data.task != "classification" or data.order == "given" or names == data.classes:
        return data
    if not set(data.classes) <= set(names) and not (data.nameless and len(names) == len(data.classes)):
        return data
    return data.with_classes(names, "classes in the order of the model's file")


def _in_found_order(data: Dataset, order: Order, *, match: bool) -> Dataset:
    """With the classes in the order that was found, or with the caution that there is one."""
    names = [""] * len(data.classes)
    for name, position in zip(data.classes, order.positions, strict=True):
        names[position] = name
    listed = ", ".join(f"{name}={k}" for k, name in enumerate(names[:_SHOWN])) + (", ..." if names[_SHOWN:] else "")
    if match:
        return data.with_classes(read_names(names), f"classes in the order that the model's answers show: {listed}")
    caution = (
        f"the outputs of the model seem to be in another order than the classes of the data: with {listed} accuracy would be "
        f"{order.accuracy:.0%} instead of {order.given:.0%}; accept that with --classes match, or give the order with --classes FILE"
    )
    return replace(data, cautions=(*data.cautions, caution))


def _doubted(model: Model, data: Dataset, few: Dataset, ways: Ways, table: str) -> Dataset:
    """With the caution that a trained model answers badly, and what helps if one of the usual ways would."""
    fit = fit_input(model, data)
    if len(ways) == 1 and not fit.raw and not fit.named:
        others = usual_ways(replace(data, undecided=True), fit)
        looks = {name: _look(model, few, numbers) for name, numbers in others.items()}
        best, well = _best(looks, few, looks_it=True)
        if well:
            caution = (
                f"the model looks trained and answers badly as it is fed ({table}); --normalize {best} does better "
                f"({_table(looks, len(few.train))})"
            )
            return replace(data, cautions=(*data.cautions, caution))
    how = "in none of the usual ways to feed it does it answer well" if len(ways) > 1 else "answers badly as it is fed"
    caution = (
        f"the model looks trained, and {how} ({table}): its input was scaled in another way (--normalize, --mean, --std), its outputs "
        "are in another order (--classes) or of other classes, or its last layer is new"
    )
    return replace(data, cautions=(*data.cautions, caution))


def _table(looks: Mapping[str, _Look], samples: int) -> str:
    """Scores by way, the best first."""
    ranked = sorted(looks, key=lambda name: -looks[name].accuracy)
    scores = ", ".join(f"{'' if name == FITS else name + ' '}{looks[name].accuracy:.0%}" for name in ranked)
    return f"{scores} of {samples} training samples"


def _guess(data: Dataset) -> float:
    """The loss of who knows the frequencies of the labels and nothing else."""
    kinds = data.several or {"": LabelKind(data.task, data.classes)}
    return sum(_guessed(data.train.y[output] if output else data.train.y, kind) for output, kind in kinds.items())


def _guessed(y: Array, kind: LabelKind) -> float:
    if kind.task == "regression":
        return 1.0
    if kind.task == "classification":
        labels = y[y >= 0]
        share = np.bincount(labels, minlength=len(kind.classes)) / len(labels)
        return float(-np.sum(share * np.log(np.maximum(share, 1e-12))))
    share = np.clip(y.reshape(len(y), -1).mean(axis=0), 1e-12, 1 - 1e-12)
    return float(np.mean(-share * np.log(share) - (1 - share) * np.log(1 - share)))
