"""The application: its consoles, its way out, and the guard around every command."""

from __future__ import annotations

import functools
import io
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer

from pysurgeon.cli._terminal import Terminal
from pysurgeon.errors import SettingError, SurgeonError, UsageError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from pysurgeon.model import Model

P = ParamSpec("P")
R = TypeVar("R")

app = typer.Typer(
    name="pysurgeon",
    help="Operates on the topology of a trained ONNX network while it trains, and hands back a better ONNX file.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
out = Terminal(soft_wrap=False)
err = Terminal(stderr=True, highlight=False)

INTERRUPTED = 130


def opened(path: Path, fix: list[str] | None = None) -> Model:
    """Load a model; what normalization changed about it is said, since exactness is about what was made of the file.

    Args:
        path: Of the file.
        fix: Inputs that are fed the same for good, as `NAME=VALUE`.
    """
    from pysurgeon.model import load

    model = load(path, fix=dict(_fixed(text) for text in fix or ()))
    for note in model.notes:
        err.print(f"note: {note}", markup=False, soft_wrap=True)
    return model


def opened_beside(a: Path, b: Path, fix: list[str] | None = None) -> tuple[Model, Model]:
    """Load two models to be compared. An input is fixed in the one that has it: the other may have been made with it fixed."""
    from pysurgeon.model import load

    if not fix:
        return opened(a), opened(b)
    named = {text: _fixed(text)[0] for text in fix}
    inputs = [{port.name for port in load(path).inputs} for path in (a, b)]
    # What neither has is left for the first to refuse.
    first = [text for text, name in named.items() if name in inputs[0] or name not in inputs[1]]
    return opened(a, first), opened(b, [text for text, name in named.items() if name in inputs[1]])


def _fixed(text: str) -> tuple[str, float]:
    name, _, value = text.rpartition("=")
    try:
        number: float | None = {"true": 1, "false": 0}.get(value.lower())
        if number is None:
            number = int(value) if value.lstrip("+-").isdigit() else float(value)
    except ValueError:
        number = None
    if not name or number is None:
        message = f"--fix {text!r} is no NAME=VALUE; give an input and a number, true or false, such as flag=1"
        raise UsageError(message)
    return name, number


def guarded(command: Callable[P, R]) -> Callable[P, R]:
    """Turn errors into one sentence on stderr and the right exit status."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except KeyboardInterrupt:
            err.print("interrupted", style="yellow")
            raise typer.Exit(INTERRUPTED) from None
        except SurgeonError as error:
            _complain(error, _said(error), as_json=bool(kwargs.get("as_json")))
            raise typer.Exit(error.exit_status) from error
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except (OSError, MemoryError) as error:
            _complain(error, _said(error), as_json=bool(kwargs.get("as_json")))
            raise typer.Exit(1) from error

    return wrapper


def _said(error: Exception) -> str:
    """What an error says, on one line and in the words of the command line."""
    if isinstance(error, SettingError):
        from pysurgeon.settings_schema import option

        return f"{option(error.setting)} {error.trouble}"
    if isinstance(error, SurgeonError):
        return " ".join(str(error).split())
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror}; see to it, or choose another place"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _complain(error: Exception, message: str, *, as_json: bool) -> None:
    if os.environ.get("PYSURGEON_TRACEBACK") == "1":
        err.print_exception()
    err.print(f"error: {message}", style="red", markup=False, soft_wrap=True)
    if as_json:
        print_json({"error": {"type": type(error).__name__, "message": message}})


def main(arguments: list[str] | None = None) -> None:
    """Run a command and exit with its status."""
    # A run that is told to end says how to go on, whether the word comes from a keyboard or a scheduler.
    signal.signal(signal.SIGTERM, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without Unicode is no reason to fail
    app(args=arguments, prog_name="pysurgeon")


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version.")] = False,
) -> None:
    if version:
        from pysurgeon import __version__

        typer.echo(__version__)
        raise typer.Exit


def print_table(table: RenderableType) -> None:
    """Print a table. Names longer than a line are left whole: a terminal wraps them, and they can be copied and searched for."""
    out.print(table, crop=False, overflow="ignore")


def print_json(document: dict[str, Any]) -> None:
    """The one document that `--json` prints. JSON has no word for what is not finite, so that is null."""
    from pysurgeon.report import document as plain

    typer.echo(json.dumps(plain(document), indent=2, allow_nan=False))
