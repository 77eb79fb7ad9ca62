"""Commands that look after the folders of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pysurgeon.cli._app import app, guarded, out, print_json, print_table
from pysurgeon.cli._options import Json
from pysurgeon.errors import RunError


@app.command(epilog="Example: pysurgeon runs runs")
@guarded
def runs(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder of runs.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Compare runs: what each was for, what it found, and what it cost."""
    from pysurgeon.api.results import Runs

    found = Runs.below(folder) if folder.is_dir() else None
    if found is None or not (found.runs or found.unread):
        message = f"{folder} holds no run; give the folder of one, or one that runs are in"
        raise RunError(message)
    if as_json:
        print_json({"runs": found.rows(), "unread": found.unread})
        return
    print_table(found.shown())


@app.command(epilog="Example: pysurgeon clean runs/model-digits-1")
@guarded
def clean(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run that has ended.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Delete what a run that has ended kept to go on from; its result, lineage and report stay."""
    from pysurgeon.evolution import open_run

    freed = open_run(run).clean()
    if as_json:
        print_json({"run": str(run), "freed_bytes": freed})
        return
    out.print(f"{freed / 1e6:,.1f} MB freed in {run}", markup=False, soft_wrap=True)
