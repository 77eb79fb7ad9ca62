"""One optimizer step over live arrays: global-norm clipping, then AdamW or SGD with momentum, all in place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from pysurgeon.errors import TrainingError
from pysurgeon.graph import Array
from pysurgeon.kernels import adamw_step, sgd_step, sum_of_squares
from pysurgeon.surgery.apply import NEW
from pysurgeon.training._arrays import aligned
from pysurgeon.training.protocol import State, TrainSettings

BETA1, BETA2, EPSILON, MOMENTUM = 0.9, 0.999, 1e-8, 0.9

# Steps in which the rate of new units comes half of the way to that of the others, and what is left when it counts as the same.
HALF_LIFE, SETTLED = 70, 1e-2

MOMENTS = {"adamw": ("m", "v"), "sgd": ("momentum",), "nesterov": ("momentum",)}


class Optimizer:
    """The moments of every parameter and the step that uses them.

    Args:
        settings: Which optimizer, its weight decay and its bound on the gradient's norm.
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
        self._updates = state.updates
        self._moments, self._new = kept(settings, {n: p.shape for n, p in parameters.items()}, state)
        self._decay = {name: decay(settings, parameter.ndim) for name, parameter in parameters.items()}

    def step(self, learning_rate: float) -> float:
        """Change the parameters, unless the gradient is not finite.

        Args:
            learning_rate: Of this step.

        Returns:
            The norm of the gradient over all parameters before clipping; infinite or NaN if nothing was changed.
        """
        norm = math.sqrt(sum(sum_of_squares(self._gradients[name]) for name in self._parameters))
        if not math.isfinite(norm):
            return norm
        clip = self._settings.clip
        scale = 1.0 if clip is None else min(1.0, clip / (norm + 1e-6))
        self._updates += 1
        before = {name: self._parameters[name].copy() for name in self._new}
        if self._settings.optimizer == "adamw":
            self._adamw(learning_rate, scale)
        else:
            self._sgd(learning_rate, scale)
        for name, old in before.items():
            if slow_down(self._new[name], self._parameters[name], old, self._settings.new_units_rate):
                del self._new[name]
        return norm

    def state(self, step: int) -> State:
        """The moments as they are now; the arrays are the optimizer's own."""
        return State(step, self._updates, self._moments | ({NEW: self._new} if self._new else {}))

    def _adamw(self, learning_rate: float, scale: float) -> None:
        m, v = self._moments["m"], self._moments["v"]
        for name, parameter in self._parameters.items():
            adamw_step(
                parameter,
                self._gradients[name],
                m[name],
                v[name],
                learning_rate=learning_rate,
                beta1=BETA1,
                beta2=BETA2,
                epsilon=EPSILON,
                weight_decay=self._decay[name],
                step=self._updates,
                gradient_scale=scale,
            )

    def _sgd(self, learning_rate: float, scale: float) -> None:
        momentum = self._moments["momentum"]
        for name, parameter in self._parameters.items():
            sgd_step(
                parameter,
                self._gradients[name],
                momentum[name],
                learning_rate=learning_rate,
                momentum=MOMENTUM,
                weight_decay=self._decay[name],
                nesterov=self._settings.optimizer == "nesterov",
                gradient_scale=scale,
            )


def decay(settings: TrainSettings, rank: int) -> float:
    """Weight decay of a parameter: pulling biases and norm parameters to zero only hurts; it is for what multiplies many inputs."""
    return settings.weight_decay if rank >= 2 else 0.0


def kept(
    settings: TrainSettings, shapes: Mapping[str, tuple[int, ...]], state: State
) -> tuple[dict[str, dict[str, Array]], dict[str, Array]]:
    """Copies of what an optimizer goes on from.

    Args:
        settings: Which optimizer, and whether new units have a learning rate of their own.
        shapes: Of the parameters, by name.
        state: Where a parameter has no moments, they are zero.

    Returns:
        Moments by kind and parameter, and by parameter how new its units are.

    Raises:
        TrainingError: A moment does not have the shape of its parameter.
    """
    moments = {
        kind: {name: _moment(name, state.moments.get(kind, {}).get(name), shape) for name, shape in shapes.items()}
        for kind in MOMENTS[settings.optimizer]
    }
    marks = state.moments.get(NEW, {}) if settings.new_units_rate != 1 else {}
    return moments, {name: _moment(name, array, shapes[name]) for name, array in marks.items() if name in shapes}


def slow_down(new: Any, parameter: Any, before: Any, rate: float) -> bool:
    """Give what is new in a parameter its own share of the step that was taken, and let it grow older.

    Args:
        new: How new, 1 to 0; an array or a tensor, changed in place like the parameter.
        parameter: After the step.
        before: The same before it.
        rate: Of new units, as a multiple of that of the others.

    Returns:
        Whether nothing in it is new any more.
    """
    # Where nothing is new, this adds zero: old units get the very step that they would have got.
    parameter += (rate - 1) * new * (parameter - before)
    new *= 0.5 ** (1 / HALF_LIFE)
    return bool(new.max() < SETTLED)


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
