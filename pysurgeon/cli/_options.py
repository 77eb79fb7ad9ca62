"""The options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pysurgeon.runtime import TrainerName

# The groups of options in the help of a command.
DATA, LENGTH, SEARCH, LIMITS, TRAINING, MACHINE, OUTPUT = (
    "Data",
    "How long",
    "Search",
    "Limits",
    "Training",
    "Machine",
    "Output",
)

Normalize = Literal["auto", "standard", "unit", "none", "imagenet", "half", "clip"]
Objective = Literal["accuracy", "size", "latency"]
Goal = Literal["accuracy", "size", "latency", "pareto"]
Strategy = Literal["surgeon", "random", "paper"]

ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="An .onnx file.", show_default=False)]
Fix = Annotated[
    list[str] | None,
    typer.Option(
        "--fix",
        rich_help_panel=DATA,
        metavar="NAME=VALUE",
        help="An input that is fed this for good: it becomes a constant.",
        show_default=False,
    ),
]
DataName = Annotated[
    str,
    typer.Option(
        "--data",
        rich_help_panel=DATA,
        metavar="SET",
        help="digits, mnist, fashion-mnist, cifar10, cifar100, svhn, folder:DIR, FILE.npz, module:function.",
    ),
]
OptionalData = Annotated[
    str | None,
    typer.Option("--data", rich_help_panel=DATA, metavar="SET", help="Data set, as for evolve.", show_default=False),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        rich_help_panel=DATA,
        metavar="DIR",
        help="Folder of the data files; else $PYSURGEON_DATA, else the user's cache.",
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", rich_help_panel=DATA, metavar="N", min=2, help="Use at most so many training samples."),
]
Validation = Annotated[
    float,
    typer.Option(
        "--validation",
        rich_help_panel=DATA,
        metavar="SHARE",
        help="Share of the training split that decisions are made on.",
    ),
]
Normal = Annotated[
    Normalize,
    typer.Option(
        "--normalize",
        rich_help_panel=DATA,
        help="Raw values to input: auto, as the model's file says or as it does best with; zero mean and unit deviation; 0..1; as is; "
        "less a published mean and by its deviation; -1..1.",
    ),
]
Json = Annotated[bool, typer.Option("--json", rich_help_panel=OUTPUT, help="Print one JSON document on stdout.")]
Force = Annotated[bool, typer.Option("--force", rich_help_panel=OUTPUT, help="Replace what exists.")]
Seed = Annotated[
    int, typer.Option("--seed", rich_help_panel=MACHINE, metavar="N", min=0, help="Everything random derives from it.")
]
Threads = Annotated[
    int, typer.Option("--threads", rich_help_panel=MACHINE, metavar="N", min=1, help="Threads of a worker.")
]
Epochs = Annotated[
    float | None,
    typer.Option(
        "--epochs", rich_help_panel=LENGTH, metavar="N", help="Passes over the training part (20 unless --steps)."
    ),
]
StepCount = Annotated[
    int | None, typer.Option("--steps", rich_help_panel=LENGTH, metavar="N", help="Optimizer steps instead of epochs.")
]
BatchSize = Annotated[
    int, typer.Option("--batch-size", rich_help_panel=TRAINING, metavar="N", min=1, help="Samples a step.")
]
Rate = Annotated[float, typer.Option("--lr", rich_help_panel=TRAINING, metavar="RATE", help="Peak learning rate.")]
Optim = Annotated[
    Literal["adamw", "sgd", "nesterov"],
    typer.Option(
        "--optimizer", rich_help_panel=TRAINING, help="adamw, or sgd with momentum 0.9, also by Nesterov's rule."
    ),
]
Freeze = Annotated[
    list[str] | None,
    typer.Option(
        "--freeze",
        rich_help_panel=TRAINING,
        metavar="PATTERN",
        help="Parameters that stay as they are: 'encoder.*', or the name of a layer. May be given more than once.",
        show_default=False,
    ),
]
Train = Annotated[
    list[str] | None,
    typer.Option(
        "--train",
        rich_help_panel=TRAINING,
        metavar="PATTERN",
        help="Train these parameters alone, such as 'head.*'. May be given more than once.",
        show_default=False,
    ),
]
Loss = Annotated[
    str | None,
    typer.Option(
        "--loss",
        rich_help_panel=TRAINING,
        metavar="LOSS",
        help="A name such as huber or 'kl(temperature=4)', FILE.onnx, module:function, or OUTPUT=LOSS,... (as the labels say).",
        show_default=False,
    ),
]
Teacher = Annotated[
    str | None,
    typer.Option(
        "--teacher",
        rich_help_panel=TRAINING,
        metavar="start|FILE",
        help="Learn the outputs of this network in the place of labels.",
        show_default=False,
    ),
]
ClassWeights = Annotated[
    Literal["none", "balanced"],
    typer.Option(
        "--class-weights", rich_help_panel=TRAINING, help="balanced: rare classes and labels weigh more in training."
    ),
]
Smoothing = Annotated[
    float,
    typer.Option(
        "--label-smoothing",
        rich_help_panel=TRAINING,
        metavar="SHARE",
        help="Share of a label that is spread over all classes.",
    ),
]
MicroBatch = Annotated[
    int | None,
    typer.Option(
        "--micro-batch",
        rich_help_panel=MACHINE,
        metavar="N",
        min=1,
        help="Most samples in memory at once; gradients of the parts are added.",
    ),
]
Statistics = Annotated[
    Literal["batch", "frozen"],
    typer.Option(
        "--statistics",
        rich_help_panel=TRAINING,
        help="What batch normalization goes by: the batch, or what it came with.",
    ),
]
Trainer = Annotated[
    TrainerName,
    typer.Option(
        "--trainer",
        rich_help_panel=MACHINE,
        help="The engine: onnxruntime-training where that is installed, otherwise torch.",
    ),
]
Device = Annotated[
    Literal["cpu", "cuda"], typer.Option("--device", rich_help_panel=MACHINE, help="cuda needs the engine's GPU build.")
]
Decay = Annotated[
    float,
    typer.Option(
        "--weight-decay",
        rich_help_panel=TRAINING,
        metavar="RATE",
        help="Of weights; biases and norm parameters are spared.",
    ),
]
Aug = Annotated[
    Literal["none", "flip-crop"],
    typer.Option("--augment", rich_help_panel=TRAINING, help="Of training images: random flips and crops."),
]
