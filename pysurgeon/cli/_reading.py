"""The options that say how data is read: every command that takes data has them, and takes them as one mapping."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pysurgeon.cli._app import err
from pysurgeon.cli._options import DATA, DataDir, Limit, Normal, Validation

if TYPE_CHECKING:
    from pysurgeon.data import Dataset, Reading
    from pysurgeon.model import Model

R = TypeVar("R")

Mean = Annotated[
    str | None,
    typer.Option(
        "--mean",
        rich_help_panel=DATA,
        metavar="X[,X...]",
        help="Instead: what is taken from values of 0..1 (or of 0..255, where one is above 1), one or one a channel.",
        show_default=False,
    ),
]
Std = Annotated[
    str | None,
    typer.Option(
        "--std", rich_help_panel=DATA, metavar="X[,X...]", help="And what they are divided by.", show_default=False
    ),
]
Classes = Annotated[
    str | None,
    typer.Option(
        "--classes",
        rich_help_panel=DATA,
        metavar="FILE|A,B,...|match",
        help="Names of the classes in the order of the outputs, one a line; match: the order that the answers show.",
        show_default=False,
    ),
]
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "data_dir": (DataDir, None),
    "limit": (Limit, None),
    "validation": (Validation, 0.1),
    "normalize": (Normal, "auto"),
    "mean": (Mean, None),
    "std": (Std, None),
    "classes": (Classes, None),
}
_OPTIONS_FROM = "reading"


def reads(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command the options of `pysurgeon.data.Reading` in the place of its argument `reading`."""
    signature = inspect.signature(command, eval_str=True)
    parameters = []
    for parameter in signature.parameters.values():
        if parameter.name != _OPTIONS_FROM:
            parameters.append(parameter)
            continue
        parameters += [
            inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=annotation)
            for name, (annotation, default) in _OPTIONS.items()
        ]

    @functools.wraps(command)
    def wrapper(**given: Any) -> R:
        reading = {name: given.pop(name) for name in _OPTIONS}
        return command(**given, reading=_settled(reading))

    wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapper


def _settled(reading: dict[str, Any]) -> dict[str, Any]:
    """With places that stay the same in another folder, and names in the place of their file."""
    from pysurgeon.data import MATCH, read_names

    if isinstance(reading["data_dir"], Path):
        reading["data_dir"] = str(reading["data_dir"].absolute())
    if reading["classes"] not in (None, MATCH):
        reading["classes"] = read_names(reading["classes"])
    return reading


def read_for(data: str, *models: Model, seed: int, reading: Reading) -> Dataset:
    """Load data for models and say what it is and what is doubtful about it."""
    from pysurgeon.training import load_for

    with err.status(f"reading {data}"):
        found = load_for(data, *models, seed=seed, **reading)
    tell(found)
    return found


def tell(data: Dataset) -> None:
    """Say what data is and what is doubtful about it."""
    err.print(data.summary(), markup=False, soft_wrap=True)
    for caution in data.cautions:
        err.print(f"warning: {caution}", style="yellow", markup=False, soft_wrap=True)
