"""The options of commands, made from the settings: a command names those that it takes and gets their values as one mapping."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import typer

from pysurgeon.settings import GROUPS, DataSettings, EvolveSettings, StepSettings
from pysurgeon.settings_schema import option, settings_in

R = TypeVar("R")

READING = tuple(name for name in settings_in(DataSettings) if name != "data")
"""Settings that say how data is read."""
# What a training is asked for alone, and what a search.
TRAIN = (*settings_in(DataSettings), *settings_in(StepSettings), "epochs", "steps", "lr", "loss", "teacher", "trainer")
EVOLVE = tuple(name for name in settings_in(EvolveSettings) if name not in ("freeze", "train"))

# The parameter of a command that stands for all of them.
_GIVEN = "given"


def takes(
    names: Iterable[str], *, required: bool = True, **defaults: Any
) -> Callable[[Callable[..., R]], Callable[..., R]]:
    """Give a command the options of some settings in the place of its argument `given`, a mapping of their values.

    Args:
        names: Of the settings.
        required: Whether there must be data.
        **defaults: By setting, where the command has another one.
    """
    said = settings_in(EvolveSettings)
    chosen = [
        _parameter(name, required, defaults.get(name, _default(name)))
        for name in sorted(names, key=lambda n: GROUPS.index(said[n].group))
    ]

    def decorated(command: Callable[..., R]) -> Callable[..., R]:
        signature = inspect.signature(command, eval_str=True)
        # Those of the command itself, such as where to write, come last in its help.
        own = [p for p in signature.parameters.values() if p.name != _GIVEN]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*chosen, *own)]

        @functools.wraps(command)
        def wrapper(**values: Any) -> R:
            settings = {p.name: _read(p.name, values.pop(p.name)) for p in chosen}
            return command(**values, **{_GIVEN: settings})

        wrapper.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
        return wrapper

    return decorated


@functools.cache
def _hints() -> dict[str, Any]:
    return get_type_hints(EvolveSettings)


def _parameter(name: str, required: bool, default: Any) -> inspect.Parameter:
    """The parameter of a command that takes a setting."""
    said = settings_in(EvolveSettings)[name]
    kind = _hints()[name]
    kinds = get_args(kind) or (kind,)
    if get_origin(kind) is tuple:
        kind, default = list[str] | None, None
    elif get_origin(kind) is not Literal:
        number = float if float in kinds and str not in kinds else int if int in kinds else str
        kind = number if said.read is None else str
        kind = kind | None if type(None) in kinds or (name == "data" and not required) else kind
    if name == "data" and not required:
        default = None
    info = typer.Option(
        option(name),
        rich_help_panel=said.group,
        metavar=said.metavar,
        help=said.text,
        show_default=default not in (None, inspect.Parameter.empty),
    )
    return inspect.Parameter(
        name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=default, annotation=Annotated[kind, info]
    )


def _default(name: str) -> Any:
    return inspect.signature(EvolveSettings).parameters[name].default


def _read(name: str, value: Any) -> Any:
    """A setting from what the command line gave."""
    if get_origin(_hints()[name]) is tuple:
        return tuple(value or ())
    read = settings_in(EvolveSettings)[name].read
    return value if value is None or read is None else read(value)
