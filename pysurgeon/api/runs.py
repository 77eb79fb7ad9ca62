"""Runs of the Surgeon: begun, gone on with, read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pysurgeon.api.arguments import (
    DataSource,
    ModelSource,
    doubted,
    ensure_observer,
    loaded,
    path_of,
    settings_by_name,
    settings_of,
)
from pysurgeon.api.results import Run
from pysurgeon.evolution import (
    EvolveResult,
    EvolveSettings,
    Journal,
    Observer,
    begin,
    check,
    free_folder,
    go_on,
    load_data,
    open_run,
)
from pysurgeon.model import Model, load
from pysurgeon.report import write_report


@settings_by_name
def evolve(
    model: ModelSource,
    data: DataSource | None = None,
    *,
    settings: EvolveSettings | None = None,
    run: str | os.PathLike[str] | None = None,
    observer: Observer | None = None,
    force: bool = False,
    **options: Any,
) -> EvolveResult:
    """Let the Surgeon evolve a model; `run` becomes the folder of the record, `run/result.onnx` the winner.

    Args:
        model: Not modified.
        data: What to learn; that of the settings where `None`.
        settings: How; the defaults where `None`.
        run: The folder, must not exist; `runs/MODEL-DATA-N` with the first N that is free where `None`.
        observer: Is told about the progress.
        force: Whether an older run there may be replaced.
        **options: Fields of `EvolveSettings` that differ from the settings, such as `epochs=5, objective="size"`.

    Raises:
        UsageError: There are neither settings nor data, or a setting makes no sense.
        ModelError: A weight is infinite or not a number.
        OutputExistsError: The folder holds something.
        Refused: The model breaks a limit before anything is done to it.
        DataError: The data does not fit the model.
        TrainingError: The model cannot be trained, or every branch diverged.
        VerificationError: The model does not compute what its file computes.
    """
    settings = settings_of(settings, data, options)
    ensure_observer(observer)
    folder = None if run is None else path_of(run, "run")
    name = "model" if isinstance(model, Model) else Path(model).stem
    model = loaded(model)
    dataset = doubted(load_data(settings, model, data), data)
    check(model, settings, dataset)
    folder = free_folder(name, settings.data) if folder is None else folder
    return _finish(begin(model, settings, folder, dataset, force=force), dataset, observer)


def resume(
    run: str | os.PathLike[str], data: DataSource | None = None, *, observer: Observer | None = None
) -> EvolveResult:
    """Go on with a run from wherever it stands.

    Args:
        run: Its folder.
        data: The data itself, where the run was begun with data that has no name.
        observer: Is told about the progress.

    Raises:
        RunError: The folder is that of no run, is damaged, or another process is at work on it.
        DataError: The data is not there any more, or does not fit the start.
        TrainingError: Every branch diverged.
    """
    ensure_observer(observer)
    return _finish(open_run(path_of(run, "run")), data, observer)


def read(run: str | os.PathLike[str]) -> Run:
    """Look at a run without its data: one that has ended, that is under way, or that was interrupted.

    Args:
        run: Its folder.

    Raises:
        RunError: The folder is that of no run, or is damaged.
    """
    return Run.of(open_run(path_of(run, "run")))


def _finish(journal: Journal, data: DataSource | None, observer: Observer | None) -> EvolveResult:
    start = load(journal.start)
    dataset = doubted(load_data(EvolveSettings.from_json(journal.settings), start, data), data)
    result = go_on(journal, dataset, observer)
    write_report(journal, journal.folder / "report.html", force=True)
    return result
