"""The step of torch's own optimizers over parameters where they are, which may be a graphics card."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from pysurgeon.graph import Array
from pysurgeon.surgery.apply import NEW
from pysurgeon.training._optimizer import BETA1, BETA2, EPSILON, MOMENTUM, decay, kept, slow_down
from pysurgeon.training.protocol import State, TrainSettings
from pysurgeon.training.torch_engine.types import tensor


@dataclass(frozen=True)
class _Group:
    """Parameters of one weight decay, which one call changes.

    Attributes:
        weight_decay: Decoupled with AdamW.
        parameters: Leaves.
        moments: Of each kind, in the order of the parameters.
        counts: Updates of each, which torch counts where the parameter is.
    """

    weight_decay: float
    parameters: list[Tensor]
    moments: list[list[Any]]
    counts: list[Tensor]

    def gradients(self) -> list[Tensor]:
        """Of the last step."""
        return [leaf.grad for leaf in self.parameters if leaf.grad is not None]


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
        moments, new = kept(settings, {name: tuple(leaf.shape) for name, leaf in parameters.items()}, state)

        def placed(arrays: Mapping[str, Array]) -> dict[str, Tensor]:
            return {name: tensor(array).to(parameters[name].device) for name, array in arrays.items()}

        self._moments, self._new = {kind: placed(arrays) for kind, arrays in moments.items()}, placed(new)
        decays: dict[float, list[str]] = {}
        for name, leaf in parameters.items():
            decays.setdefault(decay(settings, leaf.ndim), []).append(name)
        self._groups = [
            _Group(
                weight_decay,
                [parameters[name] for name in names],
                [[arrays[name] for name in names] for arrays in self._moments.values()],
                [torch.tensor(float(state.updates), device=parameters[name].device) for name in names],
            )
            for weight_decay, names in decays.items()
        ]

    @torch.no_grad()
    def step(self, learning_rate: float) -> float:
        """See `Optimizer.step`; gradients are clipped where they are."""
        clip = math.inf if self._settings.clip is None else self._settings.clip
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters.values(), clip))
        if not math.isfinite(norm):
            return norm
        self._updates += 1
        before = {name: self._parameters[name].clone() for name in self._new}
        for group in self._groups:
            if self._settings.optimizer == "adamw":
                self._adamw(group, learning_rate)
            else:
                self._sgd(group, learning_rate)
        for name, old in before.items():
            if slow_down(self._new[name], self._parameters[name], old, self._settings.new_units_rate):
                del self._new[name]
        return norm

    def state(self, step: int) -> State:
        """See `Optimizer.state`."""
        moments = {kind: _arrays(tensors) for kind, tensors in self._moments.items()}
        return State(step, self._updates, moments | ({NEW: _arrays(self._new)} if self._new else {}))

    def _adamw(self, group: _Group, learning_rate: float) -> None:
        m, v = group.moments
        adamw(
            group.parameters,
            group.gradients(),
            m,
            v,
            [],
            group.counts,
            fused=True,
            amsgrad=False,
            beta1=BETA1,
            beta2=BETA2,
            lr=learning_rate,
            weight_decay=group.weight_decay,
            eps=EPSILON,
            maximize=False,
        )

    def _sgd(self, group: _Group, learning_rate: float) -> None:
        (momentum,) = group.moments
        sgd(
            group.parameters,
            group.gradients(),
            momentum,
            foreach=True,
            weight_decay=group.weight_decay,
            momentum=MOMENTUM,
            lr=learning_rate,
            dampening=0.0,
            nesterov=self._settings.optimizer == "nesterov",
            maximize=False,
        )


def _arrays(tensors: Mapping[str, Tensor]) -> dict[str, Array]:
    return {name: value.cpu().numpy() for name, value in tensors.items()}
