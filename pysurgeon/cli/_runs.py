"""Commands that train."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pysurgeon.cli._app import INTERRUPTED, app, err, guarded, opened, out, print_json, print_table
from pysurgeon.cli._options import (
    LENGTH,
    LIMITS,
    MACHINE,
    OUTPUT,
    SEARCH,
    Aug,
    BatchSize,
    ClassWeights,
    DataName,
    Decay,
    Device,
    Epochs,
    Fix,
    Force,
    Freeze,
    Goal,
    Json,
    Loss,
    MicroBatch,
    ModelPath,
    Optim,
    Rate,
    Seed,
    Smoothing,
    Statistics,
    StepCount,
    Strategy,
    Teacher,
    Threads,
    Train,
    Trainer,
)
from pysurgeon.cli._reading import reads, tell
from pysurgeon.errors import DataError, UsageError
from pysurgeon.runtime import DEFAULT_TRAINER

if TYPE_CHECKING:
    from pysurgeon.data import Dataset
    from pysurgeon.evolution import Journal


@app.command(epilog="Example: pysurgeon train model.onnx --data digits --epochs 5 -o trained.onnx")
@guarded
@reads
def train(
    model: ModelPath,
    data: DataName,
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            rich_help_panel=OUTPUT,
            metavar="FILE",
            help="Where to write the trained model.",
            show_default=False,
        ),
    ],
    reading: Any = None,
    epochs: Epochs = None,
    steps: StepCount = None,
    batch_size: BatchSize = 64,
    lr: Rate = 2e-3,
    optimizer: Optim = "adamw",
    weight_decay: Decay = 0.01,
    augment: Aug = "none",
    loss: Loss = None,
    teacher: Teacher = None,
    class_weights: ClassWeights = "none",
    label_smoothing: Smoothing = 0.0,
    micro_batch: MicroBatch = None,
    statistics: Statistics = "batch",
    freeze: Freeze = None,
    only: Train = None,
    trainer: Trainer = DEFAULT_TRAINER,
    device: Device = "cpu",
    seed: Seed = 0,
    threads: Threads = 1,
    force: Force = False,
    fix: Fix = None,
    as_json: Json = False,
) -> None:
    """Train a model as it stands."""
    from pysurgeon import api, report
    from pysurgeon.evolution import EvolveSettings, Plan, load_data
    from pysurgeon.model import ensure_free

    loaded = opened(model, fix)
    ensure_free([output], force=force)
    settings = EvolveSettings(
        data=data,
        **reading,
        epochs=_epochs(epochs, steps),
        steps=steps,
        batch_size=batch_size,
        rate=lr,
        optimizer=optimizer,
        weight_decay=weight_decay,
        augment=augment,
        loss=_file(loss),
        teacher=_file(teacher),
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        micro_batch=micro_batch,
        statistics=statistics,
        freeze=_joined(freeze),
        train=_joined(only),
        trainer=trainer,
        device=device,
        seed=seed,
        threads=threads,
        workers=1,
    )
    dataset = load_data(settings, loaded)
    plan = Plan.of(settings, dataset)
    tell(dataset)
    err.print(plan.summary(), markup=False, soft_wrap=True)
    try:
        with report.TrainProgress(err, plan.training.schedule.total_steps) as progress:
            done = api.train(loaded, dataset, settings=settings, output=output, observer=progress, force=force)
    except KeyboardInterrupt:
        kept = f"what was learnt until {api.CHECKPOINT_SECONDS:g} s ago is kept"
        err.print(f"interrupted; {kept}, and the same command goes on from there", style="yellow", markup=False)
        raise typer.Exit(INTERRUPTED) from None
    document = {
        "epochs": done.epochs,
        "steps": done.steps,
        "validation_accuracy": done.validation_accuracy,
        "test_accuracy": done.test_accuracy,
        "metric": done.metric,
        "seconds": done.seconds,
        "output": str(done.output),
    }
    if as_json:
        print_json(document)
        return
    print_table(done.shown())


@app.command(
    epilog="Example: pysurgeon evolve model.onnx --data folder:pictures --objective size --tolerance 0.01 -o small.onnx"
)
@guarded
@reads
def evolve(
    model: ModelPath,
    data: DataName,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", rich_help_panel=OUTPUT, metavar="FILE", help="Also write the winner here."),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", rich_help_panel=OUTPUT, metavar="DIR", help="Folder of the record (runs/MODEL-DATA-N)."),
    ] = None,
    reading: Any = None,
    epochs: Epochs = None,
    steps: StepCount = None,
    time: Annotated[
        str | None,
        typer.Option(
            "--time", rich_help_panel=LENGTH, metavar="TIME", help="Begin no generation after this long: 90s, 30m, 2h."
        ),
    ] = None,
    generations: Annotated[
        int, typer.Option("--generations", rich_help_panel=SEARCH, metavar="N", help="How often the trunk branches.")
    ] = 5,
    branches: Annotated[
        int, typer.Option("--branches", rich_help_panel=SEARCH, metavar="N", help="Further layers that race.")
    ] = 3,
    strategy: Annotated[
        Strategy,
        typer.Option("--strategy", rich_help_panel=SEARCH, help="random is the control, paper the method of 2021."),
    ] = "surgeon",
    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep", rich_help_panel=SEARCH, metavar="PATTERN", help="Widths and layers not to touch; may be repeated."
        ),
    ] = None,
    objective: Annotated[
        Goal,
        typer.Option(
            "--objective", rich_help_panel=SEARCH, help="What selection is for; pareto: a front between all three."
        ),
    ] = "accuracy",
    tolerance: Annotated[
        float | None,
        typer.Option(
            "--tolerance",
            rich_help_panel=LIMITS,
            metavar="SHARE",
            help="Accuracy that size and latency may cost (0.01), or a front span (0.1).",
        ),
    ] = None,
    price: Annotated[
        float,
        typer.Option(
            "--price",
            rich_help_panel=SEARCH,
            metavar="SHARE",
            help="Accuracy that 1 % more parameters and MACs has to buy.",
        ),
    ] = 1e-4,
    max_params: Annotated[
        int | None,
        typer.Option("--max-params", rich_help_panel=LIMITS, metavar="N", help="Most parameters the result may have."),
    ] = None,
    max_macs: Annotated[
        int | None,
        typer.Option(
            "--max-macs", rich_help_panel=LIMITS, metavar="N", help="Most multiply-accumulate operations a sample."
        ),
    ] = None,
    max_latency: Annotated[
        float | None,
        typer.Option(
            "--max-latency", rich_help_panel=LIMITS, metavar="MS", help="Milliseconds, one sample, one thread."
        ),
    ] = None,
    batch_size: BatchSize = 64,
    lr: Rate = 2e-3,
    optimizer: Optim = "adamw",
    weight_decay: Decay = 0.01,
    augment: Aug = "none",
    loss: Loss = None,
    teacher: Teacher = None,
    class_weights: ClassWeights = "none",
    label_smoothing: Smoothing = 0.0,
    micro_batch: MicroBatch = None,
    statistics: Statistics = "batch",
    trainer: Trainer = DEFAULT_TRAINER,
    device: Device = "cpu",
    seed: Seed = 0,
    threads: Threads = 1,
    workers: Annotated[
        int, typer.Option("--workers", rich_help_panel=MACHINE, metavar="N", help="Branches trained at once.")
    ] = 2,
    force: Force = False,
    fix: Fix = None,
    as_json: Json = False,
) -> None:
    """Let the Surgeon train a model and operate on it meanwhile."""
    from pysurgeon.evolution import EvolveSettings, begin
    from pysurgeon.model import ensure_free

    loaded = opened(model, fix)
    ensure_free([output] if output else [], force=force)
    settings = EvolveSettings(
        data=data,
        **reading,
        epochs=_epochs(epochs, steps),
        steps=steps,
        generations=generations,
        branches=branches,
        strategy=strategy,
        keep=tuple(keep or ()),
        objective=objective,
        tolerance=tolerance,
        price=price,
        max_parameters=max_params,
        max_macs=max_macs,
        max_latency=max_latency,
        batch_size=batch_size,
        rate=lr,
        optimizer=optimizer,
        weight_decay=weight_decay,
        augment=augment,
        loss=_file(loss),
        teacher=_file(teacher),
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        micro_batch=micro_batch,
        statistics=statistics,
        trainer=trainer,
        device=device,
        seed=seed,
        threads=threads,
        workers=workers,
        time_limit=_seconds(time),
    )
    from pysurgeon.evolution import check, free_folder, load_data

    dataset = load_data(settings, loaded)
    # Before the folder is made: what cannot be trained leaves nothing behind.
    check(loaded, settings, dataset)
    folder = run or free_folder(model.stem, data)
    _go_on(begin(loaded, settings, folder, force=force), dataset, output, as_json=as_json)


@app.command(epilog="Example: pysurgeon resume runs/model-digits-1 -o better.onnx")
@guarded
def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", rich_help_panel=OUTPUT, metavar="FILE", help="Also write the winner here."),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Go on with a run that was interrupted, to the end that it would have had."""
    from pysurgeon.evolution import EvolveSettings, load_data, open_run
    from pysurgeon.model import ensure_free, load

    journal = open_run(run)
    ensure_free([output] if output else [], force=force)
    settings = EvolveSettings.from_json(journal.settings)
    try:
        dataset = load_data(settings, load(journal.start))
    except DataError as error:
        place = Path(settings.data.removeprefix("folder:"))
        is_path = settings.data.startswith("folder:") or place.suffix == ".npz"
        if not is_path or place.is_absolute() or place.exists():
            raise
        message = f"{error}; the run was begun with --data {settings.data}, so go on in the folder where that is found"
        raise DataError(message) from error
    _go_on(journal, dataset, output, as_json=as_json)


@app.command(epilog="Example: pysurgeon report runs/model-digits-1 -o page.html")
@guarded
def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", rich_help_panel=OUTPUT, metavar="FILE", help="Where to write it (RUN/report.html)."
        ),
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write the report of a run as one self-contained HTML page."""
    from pysurgeon.evolution import open_run
    from pysurgeon.report import write_report

    path = write_report(open_run(run), output or run / "report.html", force=force or output is None)
    if as_json:
        print_json({"report": str(path)})
        return
    out.print(str(path), markup=False, soft_wrap=True)


def _go_on(journal: Journal, dataset: Dataset, output: Path | None, *, as_json: bool) -> None:
    from pysurgeon import report
    from pysurgeon.evolution import EvolveSettings, Plan, go_on
    from pysurgeon.model import load, save, written

    settings = EvolveSettings.from_json(journal.settings)
    tell(dataset)
    err.print(Plan.of(settings, dataset).summary(), markup=False, soft_wrap=True)
    if caution := report.caution(settings, dataset):
        err.print(f"note: {caution}", markup=False, soft_wrap=True)
    try:
        with report.LiveObserver(err, report.RunPlan.of(settings, dataset)) as observer:
            result = go_on(journal, dataset, observer)
    except KeyboardInterrupt:
        words = ["pysurgeon", "resume", str(journal.folder), *(["-o", str(output)] if output is not None else [])]
        err.out(f"interrupted; go on with: {shlex.join(words)}", style="yellow")  # as it can be copied
        raise typer.Exit(INTERRUPTED) from None
    page = report.write_report(journal, journal.folder / "report.html", force=True)
    if output is not None:
        save(load(result.output), output, force=True)
        result = replace(result, output=output)
    if as_json:
        print_json(report.evolve_json(result))
        return
    print_table(report.result_table(result))
    out.print()
    for sentence in report.verdict(report.from_journal(journal)):
        out.print(sentence, markup=False, highlight=False)
    out.print()
    out.print(f"model   {written(result.output)}", markup=False, soft_wrap=True)
    out.print(f"report  {page}", markup=False, soft_wrap=True)


def _epochs(epochs: float | None, steps: int | None) -> float | None:
    return 20.0 if epochs is None and steps is None else epochs


def _file(name: str | None) -> str | None:
    """A file by where it lies, so that a run can be resumed from anywhere; whatever else is named as it is."""
    return str(Path(name).absolute()) if name is not None and name.endswith(".onnx") and "=" not in name else name


def _joined(patterns: list[str] | None) -> str | None:
    return ",".join(patterns) if patterns else None


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if match is None:
        message = f"--time is {text!r}; write 90s, 30m or 2h"
        raise UsageError(message)
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
