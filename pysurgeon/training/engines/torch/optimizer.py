"""The step of torch's own optimizers over parameters where they are, which may be a GPU."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from pysurgeon.surgery.edits.apply import AGE
from pysurgeon.training.engines.torch.types import tensor
from pysurgeon.training.optimizer import BETA1, BETA2, EPSILON, MOMENTUM, Cohorts, decay, kept
from pysurgeon.training.protocol import State, TrainSettings


@dataclass(frozen=True)
class _Group:
    """Parameters of one weight decay and one age, which one call changes.

    Attributes:
        weight_decay: Decoupled with AdamW.
        names: Of the parameters.
        parameters: Leaves.
        moments: Of each kind, in the order of the parameters.
        counts: Steps of each, which torch counts where the parameter is.
    """

    weight_decay: float
    names: list[str]
    parameters: list[Tensor]
    moments: list[list[Any]]
    counts: list[Tensor]

    def gradients(self) -> list[Tensor]:
        """Of the last step."""
        return [leaf.grad for leaf in self.parameters if leaf.grad is not None]


class TorchOptimizer:
    """See `pysurgeon.training.optimizer.Optimizer`, which takes the same steps on arrays.

    Args:
        settings: Which optimizer, its schedule, its weight decay and its bound on the gradient's norm.
        parameters: Leaves by name; every step changes them.
        state: Moments to go on from; copied.

    Raises:
        TrainingError: A moment does not have the shape of its parameter.
    """

    def __init__(self, settings: TrainSettings, parameters: Mapping[str, Tensor], state: State) -> None:
        self._settings, self._parameters = settings, parameters
        moments, self._cohorts = kept(settings, {name: tuple(leaf.shape) for name, leaf in parameters.items()}, state)
        self._moments = {
            kind: {name: tensor(array).to(parameters[name].device) for name, array in arrays.items()}
            for kind, arrays in moments.items()
        }
        alike: dict[tuple[float, int], list[str]] = {}
        self._mixed: dict[str, Tensor] = {}  # the cohort of every element where there are several
        for name, leaf in parameters.items():
            cohorts = self._cohorts[name]
            if cohorts.of is None:
                alike.setdefault((decay(settings, leaf.ndim), int(cohorts.ages[0])), []).append(name)
            else:
                self._mixed[name] = torch.from_numpy(cohorts.of.array.astype(np.int64)).to(leaf.device)
        self._groups = [
            _Group(
                weight_decay,
                names,
                [parameters[name] for name in names],
                [[arrays[name] for name in names] for arrays in self._moments.values()],
                [torch.tensor(float(age), device=parameters[name].device) for name in names],
            )
            for (weight_decay, age), names in alike.items()
        ]

    @torch.no_grad()
    def step(self, step: int) -> float:
        """See `Optimizer.step`; gradients are clipped where they are."""
        clip = math.inf if self._settings.clip is None else self._settings.clip
        norm = float(torch.nn.utils.clip_grad_norm_(self._parameters.values(), clip))
        if not math.isfinite(norm):
            return norm
        for group in self._groups:
            (rate,) = self._aged(self._cohorts[group.names[0]], step)
            for name in group.names[1:]:
                self._cohorts[name].ages += 1
            if self._settings.optimizer == "adamw":
                self._adamw(group, rate)
            else:
                self._sgd(group, rate)
        for name, of in self._mixed.items():
            cohorts = self._cohorts[name]
            rates = self._aged(cohorts, step)
            if self._settings.optimizer == "adamw":
                self._mixed_adamw(name, of, rates, cohorts)
            else:
                self._mixed_sgd(name, of, rates)
        return norm

    def state(self, step: int) -> State:
        """See `Optimizer.state`."""
        moments = {kind: {n: t.cpu().numpy() for n, t in named.items()} for kind, named in self._moments.items()}
        return State(step, moments | {AGE: {name: c.to_ages() for name, c in self._cohorts.items()}})

    def _aged(self, cohorts: Cohorts, step: int) -> list[float]:
        """Learning rates of the cohorts, which are a step older then."""
        rates = [self._settings.schedule.at(step, int(age)) for age in cohorts.ages]
        cohorts.ages += 1
        return rates

    def _adamw(self, group: _Group, rate: float) -> None:
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
            lr=rate,
            weight_decay=group.weight_decay,
            eps=EPSILON,
            maximize=False,
        )

    def _sgd(self, group: _Group, rate: float) -> None:
        (momentum,) = group.moments
        sgd(
            group.parameters,
            group.gradients(),
            momentum,
            foreach=True,
            weight_decay=group.weight_decay,
            momentum=MOMENTUM,
            lr=rate,
            dampening=0.0,
            nesterov=self._settings.optimizer == "nesterov",
            maximize=False,
        )

    def _mixed_adamw(self, name: str, of: Tensor, rates: list[float], cohorts: Cohorts) -> None:
        """The same step where elements of one parameter are of different ages; torch counts one age a parameter."""
        parameter, gradient = self._parameters[name], self._parameters[name].grad
        assert gradient is not None
        m, v = self._moments["m"][name], self._moments["v"][name]
        m.lerp_(gradient, 1 - BETA1)
        v.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)

        def by_element(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=parameter.device)[of]

        weight_decay = decay(self._settings, parameter.ndim)
        ages = [int(age) for age in cohorts.ages]
        root = by_element([math.sqrt(1 - BETA2**age) for age in ages])
        size = by_element([rate / (1 - BETA1**age) for rate, age in zip(rates, ages, strict=True)])
        parameter.mul_(by_element([1 - rate * weight_decay for rate in rates]))
        parameter.sub_(size * m / (v.sqrt() / root + EPSILON))

    def _mixed_sgd(self, name: str, of: Tensor, rates: list[float]) -> None:
        parameter, gradient = self._parameters[name], self._parameters[name].grad
        assert gradient is not None
        momentum = self._moments["momentum"][name]
        gradient = gradient + decay(self._settings, parameter.ndim) * parameter
        momentum.mul_(MOMENTUM).add_(gradient)
        direction = gradient + MOMENTUM * momentum if self._settings.optimizer == "nesterov" else momentum
        parameter.sub_(torch.tensor(rates, dtype=torch.float32, device=parameter.device)[of] * direction)
