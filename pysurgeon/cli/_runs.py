"""Commands that train."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pysurgeon.cli._app import INTERRUPTED, app, err, guarded, opened, out, print_json, print_table
from pysurgeon.cli._options import OUTPUT, Fix, Force, Json, ModelPath, RunPath, Winner
from pysurgeon.cli._reading import patience, tell
from pysurgeon.cli._settings import EVOLVE, TRAIN, takes
from pysurgeon.errors import DataError
from pysurgeon.settings import EvolveSettings

if TYPE_CHECKING:
    from pysurgeon.data import Dataset
    from pysurgeon.evolution import Journal


@app.command(epilog="Example: pysurgeon train model.onnx --data digits --epochs 5 -o trained.onnx")
@guarded
@takes(TRAIN)
def train(
    model: ModelPath,
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
    given: Any = None,
    force: Force = False,
    fix: Fix = None,
    as_json: Json = False,
) -> None:
    """Train a model as it stands."""
    from pysurgeon import api, report
    from pysurgeon.api.arguments import settings_of
    from pysurgeon.evolution import Plan, load_data
    from pysurgeon.model import ensure_free

    loaded = opened(model, fix)
    ensure_free([output], force=force)
    settings = settings_of(None, None, {**given, "workers": 1})
    with patience(f"reading {settings.data}"):
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
@takes(EVOLVE)
def evolve(
    model: ModelPath,
    output: Winner = None,
    run: Annotated[
        Path | None,
        typer.Option("--run", rich_help_panel=OUTPUT, metavar="DIR", help="Folder of the record (runs/MODEL-DATA-N)."),
    ] = None,
    given: Any = None,
    force: Force = False,
    fix: Fix = None,
    as_json: Json = False,
) -> None:
    """Let the Surgeon train a model and operate on it meanwhile."""
    from pysurgeon.api.arguments import settings_of
    from pysurgeon.evolution import begin, check, free_folder, load_data
    from pysurgeon.model import ensure_free

    loaded = opened(model, fix)
    ensure_free([output] if output else [], force=force)
    settings = settings_of(None, None, given)
    with patience(f"reading {settings.data}"):
        dataset = load_data(settings, loaded)
    # Before the folder is made: what cannot be trained leaves nothing behind.
    check(loaded, settings, dataset)
    folder = run or free_folder(model.stem, settings.data)
    _go_on(begin(loaded, settings, folder, dataset, force=force), dataset, output, as_json=as_json)


@app.command(epilog="Example: pysurgeon resume runs/model-digits-1 -o better.onnx")
@guarded
def resume(
    run: RunPath,
    output: Winner = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Go on with a run that was interrupted, to the end that it would have had."""
    from pysurgeon.evolution import load_data, open_run
    from pysurgeon.model import ensure_free, load

    journal = open_run(run)
    ensure_free([output] if output else [], force=force)
    settings = EvolveSettings.from_json(journal.settings)
    try:
        with patience(f"reading {settings.data}"):
            dataset = load_data(settings, load(journal.start))
    except DataError as error:
        place = Path(settings.data.removeprefix("folder:"))
        is_path = settings.data.startswith("folder:") or place.suffix in (".npz", ".csv")
        if not is_path or place.is_absolute() or place.exists():
            raise
        message = f"{error}; the run was begun with --data {settings.data}, so go on in the folder where that is found"
        raise DataError(message) from error
    _go_on(journal, dataset, output, as_json=as_json)


@app.command(epilog="Example: pysurgeon report runs/model-digits-1 -o page.html")
@guarded
def report(
    run: RunPath,
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
    from pysurgeon.evolution import Plan, go_on
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
