"""What an operation is, how it is written on a command line, and how it is carried out and verified."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pysurgeon.errors import ModelError, Refused, VerificationError
from pysurgeon.graph import Model
from pysurgeon.graph.costs import Costs, costs
from pysurgeon.graph.session import output_error
from pysurgeon.graph.widths import Structure
from pysurgeon.surgery.apply import apply_edit
from pysurgeon.surgery.calibration import Calibration
from pysurgeon.surgery.edit import Edit

# What float32 leaves of exactness; measured on the calibration batch, relative to the largest output.
EXACT = 1e-5


@dataclass(frozen=True)
class Plan:
    """An edit and what is expected of it.

    Attributes:
        edit: The edit.
        predicted_error: Relative change of what the readers of the edited place give, root mean square; 0 if exact.
        reason: Why it is done this way, as a clause.
    """

    edit: Edit
    predicted_error: float
    reason: str


class Operation(ABC):
    """A change of the topology, as data. Frozen dataclasses derive from it, one a file."""

    kind: ClassVar[str]
    exact: ClassVar[bool]

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
        measured_error: Largest absolute difference of the outputs on the calibration batch over their largest value.
        reason: Why it was done this way.
        before: Costs before.
        after: Costs after.
    """

    operation: str
    site: str
    exact: bool
    predicted_error: float
    measured_error: float
    reason: str
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
    plan = operation.plan(Structure(model), calibration)
    result = apply_edit(plan.edit)
    reference = calibration.outputs(model)
    if not all(np.isfinite(array).all() for array in reference.values()):
        message = (
            "the model's outputs are infinite or not a number on the calibration batch, so nothing can be verified"
        )
        raise ModelError(message)
    error = output_error(reference, calibration.outputs(result))
    if operation.exact and not error <= EXACT:
        message = (
            f"{operation} was to keep the function but changed the outputs by {error:.2g} (relative; at most {EXACT:.0e} "
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
        measured_error=error,
        reason=plan.reason,
        before=costs(model),
        after=costs(result),
    )
    return Operated(result, record, plan.edit)
