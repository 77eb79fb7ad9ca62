"""The command line that repeats a run."""

from __future__ import annotations

import shlex
from dataclasses import fields
from pathlib import Path

from pysurgeon.evolution import EvolveSettings

# What the command line calls the fields of the settings.
OPTIONS = {
    "data": "--data",
    "data_dir": "--data-dir",
    "limit": "--limit",
    "normalize": "--normalize",
    "mean": "--mean",
    "std": "--std",
    "classes": "--classes",
    "validation": "--validation",
    "epochs": "--epochs",
    "steps": "--steps",
    "generations": "--generations",
    "branches": "--branches",
    "strategy": "--strategy",
    "keep": "--keep",
    "objective": "--objective",
    "tolerance": "--tolerance",
    "price": "--price",
    "max_parameters": "--max-params",
    "max_macs": "--max-macs",
    "max_latency": "--max-latency",
    "batch_size": "--batch-size",
    "rate": "--lr",
    "optimizer": "--optimizer",
    "weight_decay": "--weight-decay",
    "augment": "--augment",
    "loss": "--loss",
    "teacher": "--teacher",
    "class_weights": "--class-weights",
    "label_smoothing": "--label-smoothing",
    "micro_batch": "--micro-batch",
    "statistics": "--statistics",
    "freeze": "--freeze",
    "train": "--train",
    "trainer": "--trainer",
    "device": "--device",
    "seed": "--seed",
    "threads": "--threads",
    "workers": "--workers",
    "time_limit": "--time",
}


def evolve_command(settings: EvolveSettings, start: Path) -> str:
    """`pysurgeon evolve ...` with all that differs from the defaults, quoted for a shell.

    Args:
        settings: Of the run.
        start: The start model's file.
    """
    words = ["pysurgeon", "evolve", str(start)]
    for field in fields(settings):
        value = getattr(settings, field.name)
        if value is None or (value == field.default and field.name not in ("data", "seed")):
            continue
        if isinstance(value, tuple):
            words += [word for each in value for word in (OPTIONS[field.name], each)]
        else:
            words += [OPTIONS[field.name], _written(value) + ("s" if field.name == "time_limit" else "")]
    return shlex.join(words)


def _written(value: object) -> str:
    """The shortest text that is read back as the same value."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
