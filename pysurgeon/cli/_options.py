"""The options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pysurgeon.runtime import TrainerName

Normalize = Literal["auto", "standard", "unit", "none"]
Objective = Literal["accuracy", "size", "latency"]
Goal = Literal["accuracy", "size", "latency", "pareto"]
Strategy = Literal["bic", "random", "paper"]

ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="An .onnx file.", show_default=False)]
Fix = Annotated[
    list[str] | None,
    typer.Option(
        "--fix",
        metavar="NAME=VALUE",
        help="An input that is fed this for good: it becomes a constant.",
        show_default=False,
    ),
]
DataName = Annotated[
    str,
    typer.Option(
        "--data", help="digits, mnist, fashion-mnist, cifar10, cifar100, svhn, folder:DIR, FILE.npz, module:function."
    ),
]
OptionalData = Annotated[str | None, typer.Option("--data", help="Data set, as for evolve.", show_default=False)]
DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of the data files; else $PYSURGEON_DATA, else the user's cache."),
]
Limit = Annotated[int | None, typer.Option("--limit", min=2, help="Use at most so many training samples.")]
Validation = Annotated[
    float, typer.Option("--validation", help="Share of the training split that decisions are made on.")
]
Normal = Annotated[
    Normalize,
    typer.Option(
        "--normalize",
        help="Raw values to input: as the model's file says or as it does best with; zero mean and unit deviation; 0..1; as is.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what exists.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Everything random derives from it.")]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Threads of a worker.")]
Epochs = Annotated[float | None, typer.Option("--epochs", help="Passes over the training part (20 unless --steps).")]
StepCount = Annotated[int | None, typer.Option("--steps", help="Optimizer steps instead of epochs.")]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Samples a step.")]
Rate = Annotated[float, typer.Option("--lr", help="Peak learning rate.")]
Optim = Annotated[
    Literal["adamw", "sgd", "nesterov"],
    typer.Option("--optimizer", help="adamw, or sgd with momentum 0.9, also by Nesterov's rule."),
]
ClassWeights = Annotated[
    Literal["none", "balanced"],
    typer.Option("--class-weights", help="balanced: rare classes and labels weigh more in training."),
]
Smoothing = Annotated[
    float, typer.Option("--label-smoothing", help="Share of a label that is spread over all classes.")
]
MicroBatch = Annotated[
    int | None,
    typer.Option("--micro-batch", min=1, help="Most samples in memory at once; gradients of the parts are added."),
]
Statistics = Annotated[
    Literal["batch", "frozen"],
    typer.Option("--statistics", help="What batch normalization goes by: the batch, or what it came with."),
]
Trainer = Annotated[
    TrainerName,
    typer.Option("--trainer", help="The engine: onnxruntime-training where that is installed, otherwise torch."),
]
Device = Annotated[Literal["cpu", "cuda"], typer.Option("--device", help="cuda needs the engine's GPU build.")]
Decay = Annotated[float, typer.Option("--weight-decay", help="Of weights; biases and norm parameters are spared.")]
Aug = Annotated[
    Literal["none", "flip-crop"], typer.Option("--augment", help="Of training images: random flips and crops.")
]
