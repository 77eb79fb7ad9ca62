"""What settings mean for a data set: how many steps the trunk takes, and how it is trained."""

from __future__ import annotations

from dataclasses import dataclass

from pysurgeon.data import Batches, Dataset
from pysurgeon.evolution.strategy import Strategy
from pysurgeon.settings import EvolveSettings
from pysurgeon.training import Schedule, TrainSettings


@dataclass(frozen=True)
class Plan:
    """The trunk's way. `evolve`, `train` and whoever shows their progress take it from here.

    Attributes:
        steps_per_epoch: Batches in a pass over the training part.
        strategy: How branches come about and compete, and the trunk's steps, cut into races.
        training: How every branch is trained.
    """

    steps_per_epoch: int
    strategy: Strategy
    training: TrainSettings

    @staticmethod
    def of(settings: EvolveSettings, data: Dataset) -> Plan:
        """The plan for these settings and this data."""
        per_epoch = Batches(data, settings.batch_size, seed=settings.seed).steps_per_epoch
        total = settings.steps or max(1, round((settings.epochs or 0) * per_epoch))
        training = TrainSettings(
            schedule=Schedule(settings.lr, total, warmup_steps=min(100, total // 20)),
            **settings.steps_alone(),
        )
        return Plan(per_epoch, Strategy.of(settings, total), training)

    def summary(self) -> str:
        """How long the trunk is, and how its learning rate goes, in a line."""
        training, schedule = self.training, self.training.schedule
        total, warmup = schedule.total_steps, schedule.warmup_steps
        rise = f"rises to {schedule.rate:g} in {_steps(warmup)}" if warmup else f"is {schedule.rate:g}"
        return (
            f"{_steps(total)} of {training.optimizer} with {training.batch_size} samples each, "
            f"{total / self.steps_per_epoch:.3g} epochs; the learning rate {rise} and falls to zero at the end"
        )


def _steps(count: int) -> str:
    return f"{count:,} step{'s' if count != 1 else ''}"
