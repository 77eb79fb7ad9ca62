"""The settings, each written once: its name, default, range, words and group. Options, help, checks and JSON follow from here.

A field is one setting. The command line calls it by its name with dashes; a choice is a `Literal`, several values are a tuple.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pysurgeon.errors import RunError, UsageError
from pysurgeon.runtime import DEFAULT_TRAINER, TrainerName
from pysurgeon.settings_schema import (
    Range,
    Setting,
    documented,
    ensure_valid,
    new_names,
    plain,
    setting,
    settings_in,
    takes_old_names,
)

Normalize: TypeAlias = Literal["auto", "standard", "unit", "none", "imagenet", "half", "clip"]
"""``auto``: as the model's file says or as the model does best with, where a model is known, else ``standard``; ``standard``: zero mean and
unit deviation per channel; ``unit``: pixels to 0..1; ``none``: raw values as float32; ``imagenet`` and ``clip``: pixels to 0..1, less the mean of
those pictures and by their deviation, per channel; ``half``: pixels to -1..1."""

Augment: TypeAlias = Literal["none", "flip-crop"]
"""``flip-crop``: random horizontal flip and random crop after padding by 4 pixels, the recipe usual for CIFAR."""

Optim: TypeAlias = Literal["adamw", "sgd", "nesterov"]
Statistics: TypeAlias = Literal["batch", "frozen"]
Device: TypeAlias = Literal["cpu", "cuda"]
ClassWeights: TypeAlias = Literal["none", "balanced"]
StrategyName: TypeAlias = Literal["surgeon", "random", "paper"]
Objective: TypeAlias = Literal["accuracy", "size", "latency", "pareto"]

# Groups of settings, as the help of a command shows them.
GROUPS = ("Data", "How long", "Search", "Limits", "Training", "Machine")
DATA, LENGTH, SEARCH, LIMITS, TRAINING, MACHINE = GROUPS

# Passes over the training part where neither epochs nor steps are given.
DEFAULT_EPOCHS = 20.0
# The peak learning rate of `shrink`: of what is trained already.
RATE_OF_TRAINED = 5e-4


def seconds(text: str | float) -> float:
    """A time such as 90s, 30m or 2h.

    Raises:
        UsageError: It is none.
    """
    if not isinstance(text, str):
        return text
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if match is None:
        message = f"--time is {text!r}; write 90s, 30m or 2h"
        raise UsageError(message)
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def _folder(name: str) -> str:
    """A folder by where it lies."""
    return str(Path(name).absolute())


def _file(name: str) -> str:
    """A file by where it lies, so that a run can be resumed from anywhere; whatever else is named as it is."""
    return str(Path(name).absolute()) if name.endswith(".onnx") and "=" not in name else name


_WHOLE = Range(at_least=1)
_COUNT = Range(at_least=0)
_ABOVE = Range(above=0)


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """What is learnt from, and how it is read."""

    data: str = dataclasses.field(
        kw_only=False,
        metadata={
            "setting": Setting(
                "Data set: digits, mnist, fashion-mnist, cifar10, cifar100, svhn, folder:DIR, FILE.npz, FILE.csv, module:function.",
                DATA,
                metavar="SET",
            )
        },
    )
    data_dir: str | os.PathLike[str] | None = setting(
        "Folder of the data files; else $PYSURGEON_DATA, else the user's cache.",
        DATA,
        None,
        metavar="DIR",
        read=_folder,
    )
    limit: int | None = setting(
        "Use at most so many training samples.", DATA, None, metavar="N", range=Range(at_least=2)
    )
    validation: float = setting(
        "Share of the training split that decisions are made on.",
        DATA,
        0.1,
        metavar="SHARE",
        range=Range(above=0, below=1),
    )
    normalize: Normalize = setting(
        "Raw values to input: auto, as the model's file says or as it does best with; zero mean and unit deviation; 0..1; as is; "
        "less a published mean and by its deviation; -1..1.",
        DATA,
        "auto",
    )
    mean: str | float | Iterable[float] | None = setting(
        "Instead: what is taken from values of 0..1 (or of 0..255, where one is above 1), one or one a channel.",
        DATA,
        None,
        metavar="X[,X...]",
    )
    std: str | float | Iterable[float] | None = setting("And what they are divided by.", DATA, None, metavar="X[,X...]")
    classes: str | os.PathLike[str] | Iterable[str] | None = setting(
        "Names of the classes in the order of the outputs, one a line; match: the order that the answers show.",
        DATA,
        None,
        metavar="FILE|A,B,...|match",
    )
    output_name: str | None = setting(
        "The output of the model that the labels are of (the first one that they fit).", DATA, None, metavar="NAME"
    )
    label: str | None = setting(
        "Of a FILE.csv: the column that is to be predicted (the last one).", DATA, None, metavar="COLUMN"
    )


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """How a step is taken, whatever the model and the length of the training."""

    batch_size: int = setting("Samples a step.", TRAINING, 64, metavar="N", range=_WHOLE)
    optimizer: Optim = setting("adamw, or sgd with momentum 0.9, also by Nesterov's rule.", TRAINING, "adamw")
    weight_decay: float = setting(
        "Decay of weights, decoupled for adamw; biases and norm parameters are spared.",
        TRAINING,
        0.01,
        metavar="RATE",
        range=_COUNT,
    )
    augment: Augment = setting("Of training images: random flips and crops.", TRAINING, "none")
    class_weights: ClassWeights = setting("balanced: rare classes and labels weigh more in training.", TRAINING, "none")
    label_smoothing: float = setting(
        "Share of a label that is spread over all classes.",
        TRAINING,
        0.0,
        metavar="SHARE",
        range=Range(at_least=0, below=1),
    )
    statistics: Statistics = setting(
        "What batch normalization goes by: the batch, or the running statistics that it came with.", TRAINING, "batch"
    )
    freeze: tuple[str, ...] = setting(
        "Parameters that stay as they are: 'encoder.*', or the name of a layer. May be given more than once; for train.",
        TRAINING,
        (),
        metavar="PATTERN",
        commas=True,
    )
    train: tuple[str, ...] = setting(
        "Train these parameters alone, such as 'head.*'. May be given more than once; for train.",
        TRAINING,
        (),
        metavar="PATTERN",
        commas=True,
    )
    micro_batch: int | None = setting(
        "Most samples in memory at once; gradients of the parts are added, and batch normalization sees the parts.",
        MACHINE,
        None,
        metavar="N",
        range=_WHOLE,
    )
    device: Device = setting(
        "Where loss and gradients are computed; cuda needs the engine's GPU build.", MACHINE, "cpu"
    )
    seed: int = setting("Everything random derives from it.", MACHINE, 0, metavar="N", range=_COUNT)
    threads: int = setting("Threads of a worker.", MACHINE, 1, metavar="N", range=_WHOLE)


@dataclass(frozen=True, kw_only=True)
class EvolveSettings(StepSettings, DataSettings):
    """How to train and, for `evolve`, to search: everything that decides a result, and nothing else."""

    epochs: float | None = setting(
        "Passes over the training part along the trunk (20 unless there are steps).",
        LENGTH,
        None,
        metavar="N",
        range=_ABOVE,
    )
    steps: int | None = setting(
        "Optimizer steps along the trunk, instead of epochs.", LENGTH, None, metavar="N", range=_ABOVE
    )
    time: float | None = setting(
        "Begin no generation after this long: 90s, 30m, 2h.",
        LENGTH,
        None,
        metavar="TIME",
        range=_COUNT,
        read=seconds,
        unit="s",
        was="time_limit",
    )
    lr: float = setting("Peak learning rate.", TRAINING, 2e-3, metavar="RATE", range=_ABOVE, was="rate")
    loss: str | None = setting(
        "What is learnt, if not what the labels say: a name such as huber or 'kl(temperature=4)', FILE.onnx, module:function, "
        "or OUTPUT=LOSS,...",
        TRAINING,
        None,
        metavar="LOSS",
        read=_file,
    )
    teacher: str | os.PathLike[str] | None = setting(
        "Learn the outputs of this network in the place of labels.",
        TRAINING,
        None,
        metavar="start|FILE",
        read=_file,
    )
    trainer: TrainerName = setting(
        "The engine: onnxruntime-training where that is installed, otherwise torch.", MACHINE, DEFAULT_TRAINER
    )
    strategy: StrategyName = setting(
        "surgeon doubles all widths while that pays, tries layers, and cuts all widths at once; random is the control; paper the "
        "method of Schiessler et al. (2021).",
        SEARCH,
        "surgeon",
    )
    objective: Objective = setting(
        "What selection is for; pareto: a front between accuracy, parameters and latency.", SEARCH, "accuracy"
    )
    generations: int = setting("How often the trunk branches.", SEARCH, 5, metavar="N", range=_COUNT)
    branches: int = setting(
        "Further layers that race or, by chance, random operations but one.", SEARCH, 3, metavar="N", range=_COUNT
    )
    keep: tuple[str, ...] = setting(
        "Widths and layers not to touch; may be given more than once.", SEARCH, (), metavar="PATTERN"
    )
    price: float = setting(
        "Accuracy that 1 % more parameters and MACs has to buy.", SEARCH, 1e-4, metavar="SHARE", range=_COUNT
    )
    tolerance: float | None = setting(
        "Accuracy that size and latency may cost (0.01), or a front span (0.1).",
        LIMITS,
        None,
        metavar="SHARE",
        range=_COUNT,
    )
    max_params: int | None = setting(
        "Most parameters the result may have.", LIMITS, None, metavar="N", was="max_parameters"
    )
    max_macs: int | None = setting("Most multiply-accumulate operations a sample.", LIMITS, None, metavar="N")
    max_latency: float | None = setting(
        "Most milliseconds, one sample, one thread.", LIMITS, None, metavar="MS", range=_COUNT
    )
    workers: int = setting(
        "Branches trained at once; it cannot change what is found.", MACHINE, 2, metavar="N", range=_WHOLE
    )

    def __post_init__(self) -> None:
        """Bring the values into their plain form and check them.

        Raises:
            UsageError: A number makes no sense, or something is no number.
        """
        for name in settings_in(type(self)):
            object.__setattr__(self, name, plain(type(self), name, getattr(self, name)))
        if self.epochs is None and self.steps is None:
            object.__setattr__(self, "epochs", DEFAULT_EPOCHS)
        ensure_valid(self)
        if self.strategy == "paper" and self.objective != "accuracy":
            message = f"the score of the strategy 'paper' is of accuracy and size at once; it knows no objective {self.objective!r}"
            raise UsageError(message)
        if self.epochs is not None and self.steps is not None:
            message = "give either a number of epochs or a number of steps"
            raise UsageError(message)

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
    def reading(self) -> dict[str, Any]:
        """How the data is read, as `pysurgeon.data.load` takes it."""
        return {name: getattr(self, name) for name in settings_in(DataSettings) if name != "data"}

    def steps_alone(self) -> dict[str, Any]:
        """How a step is taken, by name."""
        return {name: getattr(self, name) for name in settings_in(StepSettings)}

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> EvolveSettings:
        """From plain data. What an older version had no setting for, it did as the default does.

        Raises:
            RunError: A newer version wrote it, or it was damaged.
        """
        data = {new_names(EvolveSettings).get(name, name): value for name, value in data.items()}
        unknown = sorted(set(data) - set(settings_in(EvolveSettings)))
        if unknown or "data" not in data:
            what = f"they hold {', '.join(unknown)}" if unknown else "they name no data"
            message = f"the settings of the run are those of another version of pysurgeon ({what}): use that one for it, or begin a new run"
            raise RunError(message)
        try:
            return EvolveSettings(**data)
        except UsageError as error:
            message = f"the settings of the run are damaged: {error}"
            raise RunError(message) from error


for _kind in (DataSettings, StepSettings, EvolveSettings):
    documented(_kind)
takes_old_names(EvolveSettings)
