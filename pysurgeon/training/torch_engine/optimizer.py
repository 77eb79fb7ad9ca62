"""The step of torch's own optimizers over parameters where they are, which may be a graphics card."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from pysurgeon.graph import Array
from pysurgeon.surgery.apply import NEW
from pysurgeon.training._optimizer import BETA1, BETA2, EPSILON, HALF_LIFE, MOMENTS, MOMENTUM, SETTLED, decay, moment
from pysurgeon.training.protocol import State, TrainSettings
from pysurgeon.training.torch_engine.types import tensor


class TorchOptimizer:
    """See `pysurgeon.training._optimizer.Optimizer`, which takes the same steps on arrays.

    Args:
        settings: Which optimizer, its weight decay and its bound on the gradient's norm.
        parameters: Leaves by name; every step changes them.
        state: Moments to go on from; copied.

    Raises:
        TrainingError: A moment does not have the shape of its parameter.
    """

    def __init__(self, settings: TrainSettings, parameters: Mapping[str, Tensor], state: State) -> None:
        self._settings, self._parameters, self._updates = settings, parameters, state.updates

        def placed(name: str, array: Array | None) -> Tensor:
            leaf = parameters[name]
            return tensor(moment(name, array, tuple(leaf.shape))).to(leaf.device)

        self._moments = {
            kind: {name: placed(name, state.moments.get(kind, {}).get(name)) for name in parameters}
            for kind in MOMENTS[settings.optimizer]
        }
        self._new = {
            name: placed(name, array)
            for name, array in state.moments.get(NEW, {}).items()
            if name in parameters and settings.new_units_rate != 1
        }
        # One call for all parameters of a weight decay.
        self._groups: dict[float, list[str]] = {}
        for name, leaf in parameters.items():
            self._groups.setdefault(decay(settings, leaf.ndim), []).append(name)

    @torch.no_grad()
    def step(self, learning_rate: float) -> float:
        """See `Optimizer.step`; gradients are clipped where they are."""
        clip = math.inf if self._settings.clip is None else self._settings.clip
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters.values(), clip))
        if not math.isfinite(norm):
            return norm
        self._updates += 1
        before = {name: self._parameters[name].clone() for name in self._new}
        for weight_decay, names in self._groups.items():
            if self._settings.optimizer == "adamw":
                self._adamw(names, learning_rate, weight_decay)
            else:
                self._sgd(names, learning_rate, weight_decay)
        for name, old in before.items():
            self._slow_down(name, old)
        return norm

    def state(self, step: int) -> State:
        """See `Optimizer.state`."""
        moments = {kind: _arrays(tensors) for kind, tensors in self._moments.items()}
        return State(step, self._updates, moments | ({NEW: _arrays(self._new)} if self._new else {}))

    def _slow_down(self, name: str, before: Tensor) -> None:
        new, parameter = self._new[name], self._parameters[name]
        parameter += (self._settings.new_units_rate - 1) * new * (parameter - before)
        new *= 0.5 ** (1 / HALF_LIFE)
        if new.max() < SETTLED:
            del self._new[name]

    def _lists(self, names: list[str], *kinds: str) -> list[list[Tensor]]:
        """Parameters, gradients and moments."""
        leaves = [self._parameters[name] for name in names]
        gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
        return [leaves, gradients, *([self._moments[kind][name] for name in names] for kind in kinds)]

    def _adamw(self, names: list[str], learning_rate: float, weight_decay: float) -> None:
        leaves, gradients, m, v = self._lists(names, "m", "v")
        count = torch.tensor(float(self._updates - 1), device=leaves[0].device)
        adamw(
            leaves,
            gradients,
            m,
            v,
            [],
            [count.clone() for _ in names],
            fused=True,
            amsgrad=False,
            beta1=BETA1,
            beta2=BETA2,
            lr=learning_rate,
            weight_decay=weight_decay,
            eps=EPSILON,
            maximize=False,
        )

    def _sgd(self, names: list[str], learning_rate: float, weight_decay: float) -> None:
        leaves, gradients, momentum = self._lists(names, "momentum")
        sgd(
            leaves,
            gradients,
            momentum,  # type: ignore[arg-type]  # a list of tensors is one of tensors and nothing
            foreach=True,
            weight_decay=weight_decay,
            momentum=MOMENTUM,
            lr=learning_rate,
            dampening=0.0,
            nesterov=self._settings.optimizer == "nesterov",
            maximize=False,
        )


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    return {name: value.cpu().numpy() for name, value in tensors.items()}
