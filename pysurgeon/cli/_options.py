"""Arguments and options that are no settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pysurgeon.settings import DATA

OUTPUT = "Output"

ModelPath = Annotated[Path, typer.Argument(metavar="MODEL", help="An .onnx file.", show_default=False)]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.", show_default=False)]
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
Json = Annotated[bool, typer.Option("--json", rich_help_panel=OUTPUT, help="Print one JSON document on stdout.")]
Force = Annotated[bool, typer.Option("--force", rich_help_panel=OUTPUT, help="Replace what exists.")]
Winner = Annotated[
    Path | None,
    typer.Option("-o", "--output", rich_help_panel=OUTPUT, metavar="FILE", help="Also write the winner here."),
]
