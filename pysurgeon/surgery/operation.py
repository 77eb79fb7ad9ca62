"""What an operation is, how it is written on a command line, and how it is carried out and verified."""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from pysurgeon.errors import ModelError, Refused, UsageError, VerificationError
from pysurgeon.graph import Array
from pysurgeon.kernels.threads import blas_threads
from pysurgeon.model import Model
from pysurgeon.model.costs import Costs, costs
from pysurgeon.model.session import output_error
from pysurgeon.surgery.calibration import Calibration
from pysurgeon.surgery.edits.apply import apply_edit
from pysurgeon.surgery.edits.edit import Edit
from pysurgeon.widths.structure import Structure

# What float32 leaves of exactness; measured on the calibration batch, relative to the largest output. A model that makes more of the
# rounding of its input is granted as much, up to a limit.
EXACT, LARGEST_ROUNDING = 1e-5, 1e-3


@dataclass(frozen=True)
class Place:
    """Where an error is predicted and measured: what one reader gives.

    Attributes:
        before: The value in the model as it was.
        after: The value that takes its place.
        offset: What is added to the reader's own: the error is relative to what is left without it. Float64 (units,) or (1,).
        axis: The axis that the offset runs along.
        weights: What a node multiplies the two with, along their last axes, before anybody else sees them: float (outputs, inputs) each;
            `None` where the values are what the reader gives.
        reader: The tensor that is the reader: all that it gives in several places is one. Empty where it gives nothing else.
    """

    before: str
    after: str
    offset: Array
    axis: int
    weights: tuple[Array, Array] | None = None
    reader: str = ""


@dataclass(frozen=True)
class Plan:
    """An edit and what is expected of it.

    Attributes:
        edit: The edit.
        predicted_error: Relative change of what the readers of the edited place give, root mean square; 0 if exact.
        reason: Why it is done this way, as a clause.
        places: What the readers give, where that can be looked at.
        undo: The operation that takes this one back exactly, as long as nothing was trained since; `None` where there is none.
    """

    edit: Edit
    predicted_error: float
    reason: str
    places: tuple[Place, ...] = ()
    undo: Operation | None = None


@dataclass(frozen=True)
class Operation(ABC):
    """A change of the topology, as data. Frozen dataclasses derive from it, one a file."""

    kind: ClassVar[str]
    exact: ClassVar[bool]

    def __post_init__(self) -> None:
        """Take integers of any type.

        Raises:
            UsageError: A number is not whole.
        """
        for field in fields(self):
            if field.type == "int":
                given = getattr(self, field.name)
                try:
                    object.__setattr__(self, field.name, operator.index(given))
                except TypeError as error:
                    message = f"the {field.name} of {type(self).__name__} is {given!r}; it must be an integer"
                    raise UsageError(message) from error

    @property
    @abstractmethod
    def site(self) -> str:
        """Name of the width or layer that is operated on."""

    @abstractmethod
    def plan(self, structure: Structure, calibration: Calibration) -> Plan:
        """Work out the edit.

        Raises:
            Refused: It is not possible there; the message says why.
        """

    def outline(self, structure: Structure, calibration: Calibration) -> Edit:
        """An edit to the same topology, perhaps with other values in the tensors: for what depends on shapes alone.

        Raises:
            Refused: It is not possible there; the message says why.
        """
        return self.plan(structure, calibration).edit

    @abstractmethod
    def __str__(self) -> str:
        """The operation as it is written on the command line."""


@dataclass(frozen=True)
class Record:
    """What an operation did.

    Attributes:
        operation: As written on the command line.
        site: The width or layer.
        exact: Whether it claims to keep the function.
        predicted_error: See `Plan`.
        site_error: What the predicted error turned out to be, on samples that nothing was fitted to; `None` if exact, or if
            the readers are not to be looked at.
        measured_error: Largest absolute difference of the outputs on the calibration batch over their largest value.
        reason: Why it was done this way.
        undo: The operation that takes this one back, as written on the command line; empty where there is none. It is exact right
            after it; after some training it is approximate, as any other of its kind.
        before: Costs before.
        after: Costs after.
    """

    operation: str
    site: str
    exact: bool
    predicted_error: float
    site_error: float | None
    measured_error: float
    reason: str
    undo: str
    before: Costs
    after: Costs


@dataclass(frozen=True)
class Operated:
    """An operated model, the record of what was done and the edit that did it (for the optimizer's moments)."""

    model: Model
    record: Record
    edit: Edit


def operate(model: Model, operation: Operation, calibration: Calibration | None = None) -> Operated:
    """Carry out one operation and verify it by running both models.

    Args:
        model: Not modified.
        operation: What to do.
        calibration: Samples for fits and for the verification; standard normal input where `None`.

    Raises:
        Refused: The operation is not possible there, or outputs would not be finite.
        ModelError: The outputs of the model itself are not finite.
        VerificationError: It claims to keep the function and did not.
    """
    calibration = calibration or Calibration(model)
    names = [str(o.name) for o in model.outputs]
    # Before anything is fitted: a fit would complain of what comes of it, and not of the model.
    reference = calibration.holdout(model, names)
    if not all(np.isfinite(array).all() for array in reference.values()):
        why = model.why_not_finite()
        message = (
            "the model's outputs are infinite or not a number on the calibration batch, so nothing can be verified"
            f"{'; it has ' if why else ''}{why}"
        )
        raise ModelError(message)
    try:
        with blas_threads():
            plan = operation.plan(Structure(model), calibration)
    except np.linalg.LinAlgError as trouble:
        message = f"{operation} cannot be fitted: the activations are too large to be squared ({trouble})"
        raise Refused(message) from trouble
    result = apply_edit(plan.edit)
    error = output_error(reference, calibration.holdout(result, names))
    if operation.exact and not error <= EXACT:
        granted = max(EXACT, min(LARGEST_ROUNDING, calibration.rounding(model, names)))
        if not error <= granted:
            message = (
                f"{operation} was to keep the function but changed the outputs by {error:.2g} (relative; at most {granted:.0e} "
                "was expected): the edit is discarded; please report this with the model"
            )
            raise VerificationError(message)
    if not math.isfinite(error):
        message = f"{operation} would give outputs that are infinite or not a number on the calibration batch"
        raise Refused(message)
    record = Record(
        operation=str(operation),
        site=operation.site,
        exact=operation.exact,
        predicted_error=plan.predicted_error,
        site_error=site_error(model, result, plan.places, calibration),
        measured_error=error,
        reason=plan.reason,
        undo="" if plan.undo is None else str(plan.undo),
        before=costs(model),
        after=costs(result),
    )
    return Operated(result, record, plan.edit)


def site_error(before: Model, after: Model, places: tuple[Place, ...], calibration: Calibration) -> float | None:
    """Relative change of what readers give, root mean square over all of them, on samples that nothing was fitted to."""
    if not places:
        return None
    outputs = {str(o.name) for o in after.outputs}
    names = [p.before if p.before in outputs else p.after for p in places]
    old, new = calibration.holdout(before, [p.before for p in places]), calibration.holdout(after, names)
    sums: dict[str, Array] = {}
    for place, name in zip(places, names, strict=True):
        a, b = (np.moveaxis(x, place.axis, -1).astype(np.float64) for x in (old[place.before], new[name]))
        if place.weights is not None:
            a, b = (x @ weight.T for x, weight in zip((a, b), place.weights, strict=True))
        lost = np.array([np.square(b - a).sum(), np.square(a - place.offset).sum()])
        key = place.reader or place.before
        sums[key] = sums.get(key, 0.0) + lost
    return math.sqrt(sum(float(lost / max(signal, 1e-300)) for lost, signal in sums.values()) / len(sums))
