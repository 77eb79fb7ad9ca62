"""`pysurgeon shrink`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pysurgeon.cli._app import app, err, guarded, opened, print_json, print_table
from pysurgeon.cli._options import OUTPUT, Fix, Force, Json, ModelPath
from pysurgeon.cli._reading import read_for
from pysurgeon.cli._settings import READING, takes
from pysurgeon.settings import LENGTH, LIMITS, MACHINE, RATE_OF_TRAINED, SEARCH

SETTINGS = ("data", *READING, "keep", "teacher", "batch_size", "lr", "trainer", "seed", "threads")


@app.command(epilog="Example: pysurgeon shrink model.onnx --data folder:pictures --to macs=0.5x -o small.onnx")
@guarded
@takes(SETTINGS, teacher="start", lr=RATE_OF_TRAINED)
def shrink(
    model: ModelPath,
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            rich_help_panel=OUTPUT,
            metavar="FILE",
            help="Where to write the smaller model.",
            show_default=False,
        ),
    ],
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            rich_help_panel=LIMITS,
            metavar="GOAL",
            help="macs=0.5x, params=0.5x, latency=0.5x, or numbers: macs=1e6, params=30000, latency=2.5 (milliseconds).",
            show_default=False,
        ),
    ] = None,
    within: Annotated[
        float | None,
        typer.Option(
            "--within",
            rich_help_panel=LIMITS,
            metavar="SHARE",
            help="The largest cut that costs no more accuracy than this, such as 0.005; with --to, no further than that.",
            show_default=False,
        ),
    ] = None,
    given: Any = None,
    multiple_of: Annotated[
        int | None,
        typer.Option(
            "--multiple-of",
            rich_help_panel=SEARCH,
            metavar="N",
            min=1,
            help="Sizes of widths that are cut (8 for a latency, else any).",
            show_default=False,
        ),
    ] = None,
    epochs: Annotated[
        float | None,
        typer.Option(
            "--epochs",
            rich_help_panel=LENGTH,
            metavar="N",
            help="Train it afterwards: passes over the training part. Without, nothing is trained.",
            show_default=False,
        ),
    ] = None,
    measure: Annotated[
        str | None,
        typer.Option(
            "--measure",
            rich_help_panel=MACHINE,
            metavar="CMD",
            help="Time a file by this command, which prints a number last: 'ssh board bench {model}'.",
            show_default=False,
        ),
    ] = None,
    force: Force = False,
    fix: Fix = None,
    as_json: Json = False,
) -> None:
    """Make a model that works smaller or faster, without training."""
    from pysurgeon import api

    loaded = opened(model, fix)
    dataset = read_for(given, loaded)
    with err.status("looking at the model") as status:
        done = api.shrink(
            loaded,
            dataset,
            to,
            within=within,
            epochs=epochs,
            multiple_of=multiple_of,
            measure=measure,
            output=output,
            force=force,
            progress=status.update,
            **{name: given[name] for name in SETTINGS if name != "data" and name not in READING},
        )
    if as_json:
        print_json(done.to_json())
        return
    print_table(done.shown())
