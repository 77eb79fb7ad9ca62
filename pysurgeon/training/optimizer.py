"""One optimizer step over live arrays: global-norm clipping, then AdamW or SGD with momentum, all in place.

Every element of a parameter is as old as the steps that it has taken. Its bias correction and its warm-up go by that age, so that a
unit that an operation adds begins as a unit of a new network does, wherever the trunk is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pysurgeon.errors import TrainingError
from pysurgeon.graph import Array
from pysurgeon.kernels import CohortIndex, adamw_step, sgd_step, sum_of_squares
from pysurgeon.surgery.edits.apply import AGE
from pysurgeon.training.aligned import aligned
from pysurgeon.training.protocol import State, TrainSettings

BETA1, BETA2, EPSILON, MOMENTUM = 0.9, 0.999, 1e-8, 0.9

# A cohort is a uint16. At this age the bias correction has been 1 to the last bit for long, so elements of different ages beyond are one.
_OLDEST = 2**16 - 1

MOMENTS = {"adamw": ("m", "v"), "sgd": ("momentum",), "nesterov": ("momentum",)}


@dataclass
class Cohorts:
    """Which elements of a parameter are of one age.

    Attributes:
        ages: Steps taken, int64, ascending; one for each cohort.
        of: The cohort of every element; `None` where there is one of all.
    """

    ages: Array
    of: CohortIndex | None

    @staticmethod
    def from_ages(age: Array, shape: tuple[int, ...]) -> Cohorts:
        """Those of a parameter.

        Args:
            age: Steps that every element has taken, of the parameter's shape or a scalar.
            shape: Of the parameter.
        """
        if age.ndim == 0 or not age.size:
            return Cohorts(np.asarray(age.reshape(-1)[:1] if age.size else [0], np.int64), None)
        ages, of = np.unique(np.minimum(age, _OLDEST).astype(np.int64), return_inverse=True)
        return Cohorts(ages, CohortIndex(of.reshape(shape).astype(np.uint16)) if len(ages) > 1 else None)

    def to_ages(self) -> Array:
        """Float32, as `from_ages` takes them."""
        return self.ages[0 if self.of is None else self.of.array].astype(np.float32)


class Optimizer:
    """The moments of every parameter and the step that uses them.

    Args:
        settings: Which optimizer, its schedule, its weight decay and its bound on the gradient's norm.
        parameters: Live float32 arrays by name; every step changes them.
        gradients: float32 arrays by parameter name, which every step reads and does not modify.
        state: Moments to go on from; copied. A parameter without any starts at zero.

    Raises:
        TrainingError: A moment does not have the shape of its parameter.
    """

    def __init__(
        self, settings: TrainSettings, parameters: Mapping[str, Array], gradients: Mapping[str, Array], state: State
    ) -> None:
        self._settings = settings
        self._parameters, self._gradients = parameters, gradients
        self._moments, self._cohorts = kept(settings, {n: p.shape for n, p in parameters.items()}, state)
        self._decay = {name: decay(settings, parameter.ndim) for name, parameter in parameters.items()}

    def step(self, step: int) -> float:
        """Change the parameters, unless the gradient is not finite.

        Args:
            step: Of the trunk, counted from 0; the schedule says what learning rate an element of some age has there.

        Returns:
            The norm of the gradient over all parameters before clipping; infinite or NaN if nothing was changed.
        """
        norm = math.sqrt(sum(sum_of_squares(self._gradients[name]) for name in self._parameters))
        if not math.isfinite(norm):
            return norm
        clip = self._settings.clip
        scale = 1.0 if clip is None else min(1.0, clip / (norm + 1e-6))
        for name in self._parameters:
            cohorts = self._cohorts[name]
            rates = [self._settings.schedule.at(step, int(age)) for age in cohorts.ages]
            cohorts.ages += 1
            if self._settings.optimizer == "adamw":
                self._adamw(name, rates, cohorts, scale)
            else:
                self._sgd(name, rates, cohorts, scale)
        return norm

    def state(self, step: int) -> State:
        """The moments as they are now; the arrays are the optimizer's own."""
        return State(step, self._moments | {AGE: {name: c.to_ages() for name, c in self._cohorts.items()}})

    def _adamw(self, name: str, rates: list[float], cohorts: Cohorts, scale: float) -> None:
        adamw_step(
            self._parameters[name],
            self._gradients[name],
            self._moments["m"][name],
            self._moments["v"][name],
            learning_rate=rates,
            beta1=BETA1,
            beta2=BETA2,
            epsilon=EPSILON,
            weight_decay=self._decay[name],
            step=[int(age) for age in cohorts.ages],
            cohort=cohorts.of,
            gradient_scale=scale,
        )

    def _sgd(self, name: str, rates: list[float], cohorts: Cohorts, scale: float) -> None:
        sgd_step(
            self._parameters[name],
            self._gradients[name],
            self._moments["momentum"][name],
            learning_rate=rates,
            momentum=MOMENTUM,
            weight_decay=self._decay[name],
            nesterov=self._settings.optimizer == "nesterov",
            cohort=cohorts.of,
            gradient_scale=scale,
        )


def decay(settings: TrainSettings, rank: int) -> float:
    """Weight decay of a parameter: pulling biases and norm parameters to zero only hurts; it is for what multiplies many inputs."""
    return settings.weight_decay if rank >= 2 else 0.0


def kept(
    settings: TrainSettings, shapes: Mapping[str, tuple[int, ...]], state: State
) -> tuple[dict[str, dict[str, Array]], dict[str, Cohorts]]:
    """Copies of what an optimizer goes on from.

    Args:
        settings: Which optimizer.
        shapes: Of the parameters, by name.
        state: Where a parameter has no moments or ages, they are zero.

    Returns:
        Moments by kind and parameter, and by parameter which elements are of one age.

    Raises:
        TrainingError: A moment does not have the shape of its parameter.
    """
    moments = {
        kind: {name: _moment(name, state.moments.get(kind, {}).get(name), shape) for name, shape in shapes.items()}
        for kind in MOMENTS[settings.optimizer]
    }
    ages = state.moments.get(AGE, {})
    return moments, {name: _cohorts(name, ages.get(name), shape) for name, shape in shapes.items()}


def _cohorts(name: str, age: Array | None, shape: tuple[int, ...]) -> Cohorts:
    if age is None or age.ndim == 0:
        return Cohorts.from_ages(np.zeros((), np.float32) if age is None else age, shape)
    return Cohorts.from_ages(_moment(name, age, shape), shape)


def _moment(name: str, given: Array | None, shape: tuple[int, ...]) -> Array:
    if given is None:
        return aligned(np.zeros(shape, np.float32))
    if given.shape != shape:
        message = (
            f"a moment of parameter {name!r} has the shape {given.shape}, the parameter {shape}; whatever "
            "resizes a parameter must resize its moments, too"
        )
        raise TrainingError(message)
    return aligned(np.asarray(given, np.float32))
