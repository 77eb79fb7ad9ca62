"""What a setting is: a field of a dataclass with its words, group and range, and what follows from them."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from pysurgeon.errors import SettingError

T = TypeVar("T")

# What a field of type `tuple[str, ...]` is: names, or shell patterns of names.
PATTERNS: tuple[Any, ...] = (tuple,)


@dataclass(frozen=True)
class Range:
    """Numbers that a setting may be.

    Attributes:
        at_least: The lowest of them.
        above: What all are larger than.
        below: What all are smaller than.
    """

    at_least: float | None = None
    above: float | None = None
    below: float = math.inf

    def holds(self, number: float) -> bool:
        """Whether a number is one of them; what is not a number never is."""
        low = self.at_least if self.above is None else self.above
        return (low is None or (number > low if self.above is not None else number >= low)) and number < self.below

    def __str__(self) -> str:
        if self.below < math.inf:
            low = f"between {self.above:g}" if self.above is not None else f"from {self.at_least:g}"
            return f"a share {low} {'and' if self.above is not None else 'to below'} {self.below:g}"
        return f"above {self.above:g}" if self.above is not None else f"at least {self.at_least:g}"


@dataclass(frozen=True)
class Setting:
    """What is said of a field beside its name, type and default.

    Attributes:
        text: What it decides, as a sentence.
        group: Where the help of a command shows it.
        metavar: What stands for its value there.
        range: Numbers that it may be.
        read: Makes a value of what a command line gives; raises `UsageError`.
        unit: Is written behind its value on a command line.
        was: Its name in the version before.
        commas: Whether a text stands for several patterns with commas between them.
    """

    text: str
    group: str
    metavar: str | None = None
    range: Range | None = None
    read: Callable[[Any], Any] | None = None
    unit: str = ""
    was: str = ""
    commas: bool = False


def setting(text: str, group: str, default: Any = dataclasses.MISSING, **more: Any) -> Any:
    """A field."""
    return dataclasses.field(default=default, metadata={"setting": Setting(text, group, **more)})


def settings_in(kind: type) -> dict[str, Setting]:
    """What is said of the fields of a class of settings, by name."""
    return {f.name: f.metadata["setting"] for f in fields(kind) if "setting" in f.metadata}


def option(name: str) -> str:
    """What the command line calls a setting."""
    return "--" + name.replace("_", "-")


@cache
def new_names(kind: type) -> dict[str, str]:
    """The names that settings have now, by those of the version before."""
    return {said.was: name for name, said in settings_in(kind).items() if said.was}


def with_new_names(kind: type, given: Mapping[str, Any], stacklevel: int = 3) -> dict[str, Any]:
    """Settings by the names that they have now; an old one is taken for one version more, with a warning."""
    found = {}
    for name, value in given.items():
        now = new_names(kind).get(name, name)
        if now != name:
            message = f"the setting {name} is called {now} now; the old name will not be taken any more"
            warnings.warn(message, DeprecationWarning, stacklevel=stacklevel)
        found[now] = value
    return found


def takes_old_names(kind: type[T]) -> type[T]:
    """Let a class of settings take the names that they had in the version before."""
    make = kind.__init__

    def renamed(self: T, *args: Any, **given: Any) -> None:
        make(self, *args, **with_new_names(kind, given))

    renamed.__doc__, renamed.__wrapped__ = make.__doc__, make  # type: ignore[attr-defined]  # its signature stays seen
    kind.__init__ = renamed  # type: ignore[assignment]  # of a class that is not known here
    return kind


def documented(kind: type[T]) -> type[T]:
    """Say in a class's docstring what its fields say."""
    lines = (f"    {name}: {s.text}" for name, s in settings_in(kind).items())
    kind.__doc__ = f"{kind.__doc__}\n\nAttributes:\n" + "\n".join(lines)
    return kind


def plain(kind: type, name: str, given: Any) -> Any:
    """As runs write it down: paths as text, NumPy's numbers as Python's, lists of patterns as tuples."""
    if isinstance(given, os.PathLike):
        return os.fspath(given)
    if any(get_origin(part) is Iterable for part in _kinds(kind)[name]):
        return _as_text(given)
    if _kinds(kind)[name] is PATTERNS:
        given = () if given is None else given  # as older versions wrote it
        if isinstance(given, str) and settings_in(kind)[name].commas:
            return tuple(filter(None, map(str.strip, given.split(","))))
        return tuple(given) if isinstance(given, list) else given
    return given.item() if hasattr(given, "item") and hasattr(given, "dtype") else given


def _as_text(given: object) -> object:
    """Numbers and names as they stand in a file and on a command line."""
    if given is None or isinstance(given, str | bool):
        return given
    listed = list(given) if isinstance(given, Iterable) else [given]
    return (
        json.dumps(listed)
        if any(isinstance(part, str) for part in listed)
        else ",".join(f"{part!s}" for part in listed)
    )


@cache
def _kinds(kind: type) -> dict[str, Any]:
    """What the fields are, by name: `PATTERNS`, or their types, of which one may be a `Literal[...]`."""
    found: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        if get_origin(hint) is Literal:
            found[name] = (hint,)
        elif get_origin(hint) is tuple:
            found[name] = PATTERNS
        else:
            found[name] = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return found


def ensure_valid(settings: Any) -> None:
    """See that all values are of their types and in their ranges.

    Raises:
        SettingError: One is not.
    """
    whole: type = type(settings)
    for name, said in settings_in(whole).items():
        value, kind = getattr(settings, name), _kinds(whole)[name]
        if kind is PATTERNS:
            if not isinstance(value, tuple) or not all(isinstance(pattern, str) and pattern for pattern in value):
                raise SettingError(name, f"is {value!r:.80}; it must be a list of names or shell patterns")
        elif get_origin(kind[0]) is Literal:
            if value not in get_args(kind[0]):
                raise SettingError(name, f"is {value!r}; it must be one of {', '.join(get_args(kind[0]))}")
        else:
            _ensure_number(name, value, kind, said.range)


def _ensure_number(name: str, value: object, kinds: tuple[Any, ...], allowed: Range | None) -> None:
    # What counts as a number for Python: True, but not here.
    accepted = (*((int, float) if float in kinds else ()), *(k for k in kinds if isinstance(k, type)))
    if isinstance(value, bool) or not isinstance(value, (*accepted, *([NoneType] if NoneType in kinds else []))):
        wanted = "a number" if float in kinds else "an integer" if int in kinds else "text"
        raise SettingError(name, f"is {value!r:.80}; it must be {wanted}")
    if allowed is not None and isinstance(value, int | float) and not allowed.holds(value):
        number = "" if int in kinds or allowed.below < math.inf else "a number "
        of = "of " if number and allowed.above is None else ""
        raise SettingError(name, f"is {value}; it must be {number}{of}{allowed}")
