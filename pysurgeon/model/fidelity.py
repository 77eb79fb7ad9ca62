"""The base of every check is the file: what it computes by itself, at several sizes of every open dimension and for one sample and several.

Shapes are worked out without trying any size, so none that is tried here was used before. The engine runs both sides as they are written, without
fusing or folding, so that they differ by what pysurgeon did and by nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from pysurgeon.errors import ModelError, VerificationError
from pysurgeon.graph.tensors import Array, input_dimension
from pysurgeon.model.costs import largest_value
from pysurgeon.model.feeds import choices, fitted, open_dimensions, random_feeds
from pysurgeon.model.model import Model
from pysurgeon.model.passes.pipeline import in_other_numbers
from pysurgeon.model.passes.precision import doubles_in_single_precision, has_double_weights
from pysurgeon.model.session import Session, output_error

# Relative differences of outputs: what two ways to write one function may differ by, and what a file may make of the rounding of its input.
SAME, LARGEST_ROUNDING = 1e-4, 1e-2

# How many sizes are tried, if the file takes them, and how long at most before no further one is.
WANTED, SECONDS = 3, 60.0
# Elements of the largest value inside: attention over all places of an image grows with their square.
LARGEST_VALUE = 1 << 25


@dataclass(frozen=True, eq=False)
class Trial:
    """What a file computes at one choice of its open dimensions.

    Attributes:
        sizes: Of every open dimension, by its name.
        feeds: By input name.
        outputs: By output name; tensors of numbers only.
    """

    sizes: dict[str, int]
    feeds: dict[str, Array]
    outputs: dict[str, Array]

    def __str__(self) -> str:
        return ", ".join(f"{name}={size}" for name, size in self.sizes.items()) or "its fixed sizes"


@dataclass(frozen=True, eq=False)
class Reference:
    """What a file computes by itself.

    Attributes:
        trials: At the sizes that were tried and that it takes.
        why: Why there is none, or where others failed; empty where none did.
    """

    trials: tuple[Trial, ...]
    why: str = ""


@dataclass(frozen=True)
class Beside:
    """How a model compares with the file that it comes from.

    Attributes:
        sizes: Of the open dimensions by name, for every time that both were run.
        error: The largest difference of the outputs over the largest of them.
        why: Why there is none, or why other sizes were not tried; empty where none failed.
    """

    sizes: tuple[dict[str, int], ...]
    error: float
    why: str


_references: WeakKeyDictionary[Model, Reference] = WeakKeyDictionary()
_verified: WeakKeyDictionary[Model, float] = WeakKeyDictionary()


def reference(model: Model) -> Reference:
    """What the file of a model computes or, where something was done to it since, the model itself. Tried once."""
    if model not in _references:
        written = _as_written(model)
        found = _tried(written, model)
        if not found.trials and has_double_weights(written.ir):  # kernels for float64 are few
            graph = written.ir.clone()
            doubles_in_single_precision(graph)
            found = _tried(Model(graph), model)
        _references[model] = found
    return _references[model]


def verify_loaded(model: Model) -> Reference:
    """See that a loaded model computes what its file computes. Once; a model that was changed since has no file.

    Returns:
        The sizes at which that was seen, and why others were not tried.

    Raises:
        VerificationError: It does not.
    """
    found = reference(model)
    if model.source is not None and model not in _verified:
        _verified[model] = _compare(
            model,
            found,
            f"loading {model.source.notes[0]} changed what it computes",
            "nothing is written; export it with fixed sizes, and please report this with the file",
        )
    return found


def verify_result(model: Model, base: Model, *, exact: bool) -> Beside:
    """See that what is about to be written runs wherever the file runs that it was made from.

    Args:
        model: What is about to be written.
        base: What it was made from, as it was loaded.
        exact: Whether it is to compute the same; otherwise its outputs have to have the same shapes, and be finite.

    Raises:
        VerificationError: It does not.
    """
    what = (
        "the result does not compute what the file computes" if exact else "the result does not fit where the file does"
    )
    found = reference(base)
    error = _compare(model, found, what, "nothing is written; please report this with the model", exact=exact)
    return Beside(tuple(t.sizes for t in found.trials), error, found.why)


def _compare(model: Model, found: Reference, what: str, advice: str, *, exact: bool = True) -> float:
    """The largest difference of a model from a file.

    Raises:
        VerificationError: It is larger than rounding explains, or the model does not run.
    """
    worst = 0.0
    trial = None
    try:
        session = Session(model, optimized=False) if found.trials else None
        for trial in found.trials:
            assert session is not None
            outputs = session.run(fitted(session.inputs, trial.feeds))
            apart = output_error(trial.outputs, outputs)
            granted = np.inf if not exact else SAME if apart <= SAME else _granted(session, trial, outputs)
            if not (np.isfinite(apart) and apart <= granted):
                message = f"{what}: at {trial} {_difference(trial, outputs, apart)}; {advice}"
                raise VerificationError(message)
            worst = max(worst, apart)
    except ModelError as error:
        message = f"{what}: {'' if trial is None else f'at {trial} '}it does not run ({error}); {advice}"
        raise VerificationError(message) from error
    return worst


def _difference(trial: Trial, outputs: Mapping[str, Array], apart: float) -> str:
    for name, array in trial.outputs.items():
        if array.shape != outputs[name].shape:
            return f"output {name!r} is {outputs[name].shape} and not {array.shape}"
    return f"the outputs differ by {apart:.2g} (relative)"


def _granted(session: Session, trial: Trial, outputs: dict[str, Array]) -> float:
    """What may come of rounding: some times what comes of moving every float that is fed by half a unit in its last place."""
    rng = np.random.default_rng(0)
    feeds = fitted(session.inputs, trial.feeds)
    moved = {
        name: (a * (1 + np.copysign(0.5 * np.finfo(a.dtype).eps, rng.standard_normal(a.shape)))).astype(a.dtype)
        if np.issubdtype(a.dtype, np.floating)
        else a
        for name, a in feeds.items()
    }
    return max(SAME, min(LARGEST_ROUNDING, 10 * output_error(_numbers(outputs), session.run(moved))))


def _as_written(model: Model) -> Model:
    """The file, but for what loading changes in it on purpose and says so: half precision, and training modes."""
    if model.source is None:
        return model
    graph = model.source.ir.clone()
    in_other_numbers(graph)
    return Model(graph)


def _tried(model: Model, loaded: Model) -> Reference:
    """Run a file at some sizes; as it was loaded, it says how large what is inside becomes."""
    batches = {input_dimension(value, axis) for value, axis in open_dimensions(model) if not axis}
    try:
        session = Session(model, optimized=False)
    except ModelError as error:
        return Reference((), f"the file itself cannot be run: {error}")
    trials: list[Trial] = []
    large: list[tuple[int, int, int, dict[str, int]]] = []
    why, began = "", time.monotonic()
    for seed, (batch, dimensions) in enumerate(choices(model)):
        if len(trials) == WANTED or (trials and time.monotonic() - began > SECONDS):
            break
        for samples in dict.fromkeys((batch, 1)):
            largest = largest_value(loaded, dimensions | dict.fromkeys(batches, samples))
            if largest > LARGEST_VALUE:
                large.append((largest, seed, samples, dimensions))
                continue
            found = _trial(model, session, samples, seed, dimensions)
            if isinstance(found, Trial):
                trials.append(found)
                break
            why = why or found
    if large and not trials:  # then there is no other choice
        _, seed, samples, dimensions = min(large, key=lambda choice: choice[:2])
        found = _trial(model, session, samples, seed, dimensions)
        if isinstance(found, Trial):
            return Reference((found,), why)
        why = why or found
    if trials:
        return Reference(tuple(trials), why)
    return Reference((), f"the file takes no input that was tried: {why}")


def _trial(model: Model, session: Session, samples: int, seed: int, dimensions: Mapping[str, int]) -> Trial | str:
    """What a file computes at these sizes, or why it computes nothing there."""
    try:
        feeds = _as_single(random_feeds(model, batch=samples, seed=seed, dimensions=dimensions))
        outputs = _numbers(session.run(feeds))
    except ModelError as error:
        return str(error)
    if all(np.isfinite(a).all() for a in outputs.values() if a.dtype.kind == "f"):
        return Trial(_sizes(model, feeds), feeds, outputs)
    return "its outputs are infinite or not a number on random input"


def _as_single(feeds: Mapping[str, Array]) -> dict[str, Array]:
    """With doubles that are float32 as well, so that both sides are fed the same."""
    return {n: a.astype(np.float32).astype(a.dtype) if a.dtype == np.float64 else a for n, a in feeds.items()}


def _numbers(outputs: Mapping[str, Array]) -> dict[str, Array]:
    return {n: a for n, a in outputs.items() if isinstance(a, np.ndarray) and a.dtype.kind in "fiub"}


def _sizes(model: Model, feeds: Mapping[str, Array]) -> dict[str, int]:
    found: dict[str, int] = {}
    for value, axis in open_dimensions(model):
        found.setdefault(input_dimension(value, axis), feeds[str(value.name)].shape[axis])
    return found
