"""What a run is asked to do: everything that decides its result, and nothing else."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from pysurgeon.data import Augment, Names, Normalize, Numbers, Reading
from pysurgeon.errors import RunError, SettingError, UsageError
from pysurgeon.runtime import DEFAULT_TRAINER, TrainerName
from pysurgeon.training import ClassWeights, Device, Optim, Statistics

StrategyName = Literal["surgeon", "random", "paper"]
Objective = Literal["accuracy", "size", "latency", "pareto"]


@dataclass(frozen=True)
class EvolveSettings:
    """How to evolve.

    Attributes:
        data: Name of the data set.
        data_dir: Folder of its files, `None` for the default one.
        limit: Largest number of training samples to use, `None` for all.
        normalize: How raw values become the model's input.
        mean: Instead of that, what is taken from values: one number, or one for each channel; kept as text.
        std: What they are divided by then, likewise.
        classes: Names of the classes in the order of the model's outputs, kept as text; `match` for the order that its answers show.
        validation: Share of the training split that selection sees.
        epochs: Passes over the training part along the trunk.
        steps: Optimizer steps along the trunk; instead of `epochs`.
        generations: How often the trunk branches.
        branches: Further layers that race, or, by chance, random operations but one.
        strategy: `surgeon` doubles all widths while that pays, tries layers, and cuts all widths at once; `random` branches by chance
            alone (the control), `paper` by the schedule and the score of Schiessler et al. (2021).
        keep: Shell patterns of the names of widths and layers that no operation may touch.
        objective: What selection is for; `pareto` for the front between accuracy, parameters and latency.
        tolerance: Validation accuracy that `size` and `latency` may cost against the best seen, and that a front may span; `None`
            for 0.01 and, of a front, 0.1.
        price: Accuracy that one per cent more parameters and operations has to buy.
        max_parameters: Largest number of parameters allowed, `None` for any.
        max_macs: Largest number of multiply-accumulate operations a sample, `None` for any.
        max_latency: Largest latency in milliseconds for one sample on one thread, `None` for any.
        batch_size: Samples a step.
        rate: Peak learning rate.
        optimizer: `adamw`, `sgd` with momentum, or `nesterov`.
        weight_decay: Decoupled weight decay.
        augment: Augmentation of training batches.
        loss: What is learnt, if that is not what the labels say: the name of a loss with its parameters, a file, a function, or several by output.
        teacher: Whose outputs are the targets in the place of labels: `start` or a file.
        class_weights: `balanced` makes up for rare classes and labels.
        label_smoothing: Share of a label that is spread over all classes.
        micro_batch: Most samples that the engine sees at once, `None` for whole batches.
        statistics: Whether batch normalization goes by the batch or by its frozen statistics.
        freeze: Patterns, with commas between them, of the names of parameters that stay as they are; for `train`.
        train: Likewise, of those that alone are trained; for `train`.
        trainer: The engine that gives loss and gradients: onnxruntime-training where it is installed, else torch.
        device: Where loss and gradients are computed.
        seed: Everything random derives from it.
        threads: Threads a worker.
        workers: Branches trained at once; it cannot change what is found.
        time_limit: Seconds after which no new generation is begun, `None` for none.
    """

    data: str
    data_dir: str | os.PathLike[str] | None = None
    limit: int | None = None
    normalize: Normalize = "auto"
    mean: Numbers | None = None
    std: Numbers | None = None
    classes: Names | None = None
    validation: float = 0.1
    epochs: float | None = 20
    steps: int | None = None
    generations: int = 5
    branches: int = 3
    strategy: StrategyName = "surgeon"
    keep: tuple[str, ...] = ()
    objective: Objective = "accuracy"
    tolerance: float | None = None
    price: float = 1e-4
    max_parameters: int | None = None
    max_macs: int | None = None
    max_latency: float | None = None
    batch_size: int = 64
    rate: float = 2e-3
    optimizer: Optim = "adamw"
    weight_decay: float = 0.01
    augment: Augment = "none"
    loss: str | None = None
    teacher: str | os.PathLike[str] | None = None
    class_weights: ClassWeights = "none"
    label_smoothing: float = 0.0
    micro_batch: int | None = None
    statistics: Statistics = "batch"
    freeze: str | None = None
    train: str | None = None
    trainer: TrainerName = DEFAULT_TRAINER
    device: Device = "cpu"
    seed: int = 0
    threads: int = 1
    workers: int = 2
    time_limit: float | None = None

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: A number makes no sense, or something is no number.
        """
        for field in fields(self):  # Runs write them down: paths as text, NumPy's numbers as Python's.
            given = getattr(self, field.name)
            if isinstance(given, os.PathLike):
                object.__setattr__(self, field.name, os.fspath(given))
            elif field.name == "keep" and isinstance(given, list):
                object.__setattr__(self, field.name, tuple(given))
            elif isinstance(given, np.generic):
                object.__setattr__(self, field.name, given.item())
        for name in ("mean", "std", "classes"):
            object.__setattr__(self, name, _as_text(getattr(self, name)))
        _ensure_types(self)
        kept = "keep"
        if not isinstance(self.keep, tuple) or not all(isinstance(pattern, str) and pattern for pattern in self.keep):
            raise SettingError(kept, f"is {self.keep!r:.80}; it must be a list of names or shell patterns")
        for name, low in (
            ("branches", 0),
            ("generations", 0),
            ("limit", 2),
            ("batch_size", 1),
            ("micro_batch", 1),
            ("threads", 1),
            ("workers", 1),
            ("seed", 0),
        ):
            number = getattr(self, name)
            if number is not None and number < low:
                raise SettingError(name, f"is {number}; it must be at least {low}")
        for name in ("weight_decay", "tolerance", "price", "max_latency", "time_limit"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise SettingError(name, f"is {value}; it must be a number of at least 0")
        for name, choice in (
            ("normalize", Normalize),
            ("strategy", StrategyName),
            ("objective", Objective),
            ("optimizer", Optim),
            ("augment", Augment),
            ("class_weights", ClassWeights),
            ("statistics", Statistics),
            ("trainer", TrainerName),
            ("device", Device),
        ):
            if getattr(self, name) not in get_args(choice):
                words = ", ".join(get_args(choice))
                raise SettingError(name, f"is {getattr(self, name)!r}; it must be one of {words}")
        for name, value in (
            ("epochs", self.epochs),
            ("steps", self.steps),
            ("rate", self.rate),
        ):
            if value is not None and not 0 < value < math.inf:
                raise SettingError(name, f"is {value}; it must be a number above 0")
        if self.strategy == "paper" and self.objective != "accuracy":
            message = f"the score of the strategy 'paper' is of accuracy and size at once; it knows no objective {self.objective!r}"
            raise UsageError(message)
        if (self.epochs is None) == (self.steps is None):
            message = "give either a number of epochs or a number of steps"
            raise UsageError(message)
        for name, share, fits, expected in (
            ("label_smoothing", self.label_smoothing, 0 <= self.label_smoothing < 1, "from 0 to below 1"),
            ("validation", self.validation, 0 < self.validation < 1, "between 0 and 1"),
        ):
            if not fits:
                raise SettingError(name, f"is {share}; it must be a share {expected}")

    @property
    def allowed_loss(self) -> float:
        """The tolerance, or its default."""
        if self.tolerance is not None:
            return self.tolerance
        return 0.1 if self.objective == "pareto" else 0.01

    @property
    def may_grow(self) -> bool:
        """Whether what makes a model larger is worth a branch."""
        return self.objective in ("accuracy", "pareto")

    @property
    def wants_latency(self) -> bool:
        """Whether branches are compared by their latency or limited by it."""
        return self.objective in ("latency", "pareto") or self.max_latency is not None

    @property
    def reading(self) -> Reading:
        """How the data is read."""
        return Reading(
            data_dir=self.data_dir,
            limit=self.limit,
            validation=self.validation,
            normalize=self.normalize,
            mean=self.mean,
            std=self.std,
            classes=self.classes,
        )

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> EvolveSettings:
        """From plain data. What an older version had no setting for, it did as the default does.

        Raises:
            RunError: A newer version wrote it, or it was damaged.
        """
        unknown = sorted(set(data) - {f.name for f in fields(EvolveSettings)})
        if unknown or "data" not in data:
            what = f"they hold {', '.join(unknown)}" if unknown else "they name no data"
            message = f"the settings of the run are those of another version of pysurgeon ({what}): use that one for it, or begin a new run"
            raise RunError(message)
        try:
            return EvolveSettings(**data)
        except UsageError as error:
            message = f"the settings of the run are damaged: {error}"
            raise RunError(message) from error


def _as_text(given: object) -> object:
    """Numbers and names as they stand in a file and on a command line."""
    if given is None or isinstance(given, str | bool):
        return given
    listed = list(given) if isinstance(given, Iterable) else [given]
    return (
        json.dumps(listed)
        if any(isinstance(part, str) for part in listed)
        else ",".join(f"{part!s}" for part in listed)
    )


@cache
def _kinds() -> dict[str, tuple[Any, ...]]:
    """The types of the fields that are no choices, by name."""
    hints = get_type_hints(EvolveSettings)
    return {
        name: get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
        for name, hint in hints.items()
        if get_origin(hint) not in (Literal, tuple)
    }


def _ensure_types(settings: EvolveSettings) -> None:
    for name, kinds in _kinds().items():
        value = getattr(settings, name)
        # What counts as a number for Python: True, but not here.
        accepted = (*((int, float) if float in kinds else ()), *(k for k in kinds if isinstance(k, type)))
        if isinstance(value, bool) or not isinstance(value, (*accepted, *([NoneType] if NoneType in kinds else []))):
            wanted = "a number" if float in kinds else "a whole number" if int in kinds else "text"
            raise SettingError(name, f"is {value!r:.80}; it must be {wanted}")
