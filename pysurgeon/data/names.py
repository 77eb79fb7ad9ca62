"""Names of classes, in the order of a model's outputs."""

from __future__ import annotations

import json
import os
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from pysurgeon.data.raw import numbered
from pysurgeon.data.types import Labels, Names, Task
from pysurgeon.errors import DataError, SettingError

MATCH = "match"
"""In the place of names: the order that the answers of a trained model show."""

_SETTING = "classes"
_LONGEST = 1 << 20
_SHOWN = 12


def read_names(given: Names) -> tuple[str, ...]:
    """The names that somebody gives.

    Args:
        given: The names; or as text: a file that holds one a line, or a JSON list; a JSON list; names with commas between them.

    Raises:
        SettingError: There are none, one is there twice, or the file cannot be read.
    """
    names = _from_text(os.fspath(given)) if isinstance(given, str | os.PathLike) else tuple(map(str, given))
    twice = next((name for k, name in enumerate(names) if name in names[:k]), None)
    if twice is not None:
        raise SettingError(_SETTING, f"has the name {twice!r} twice; give one for each output, in their order")
    if len(names) < 2:
        raise SettingError(_SETTING, f"is {given!r:.80}; give at least two names, or a file with one a line")
    return names


def _from_text(text: str) -> tuple[str, ...]:
    path = Path(text).expanduser()
    is_file = len(text) < 4096 and "\n" not in text and path.is_file()
    if is_file:
        try:
            if path.stat().st_size > _LONGEST:
                raise SettingError(_SETTING, f"is {text}, which is too large for a list of names")
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingError(_SETTING, f"is {path}, which cannot be read ({error}); give a text file") from error
    if text.lstrip().startswith("["):
        try:
            found = json.loads(text)
        except ValueError as error:
            raise SettingError(_SETTING, f"is no JSON list of names ({error})") from error
        return tuple(map(str, found))
    parts = text.splitlines() if is_file else text.split(",")
    return tuple(part.strip() for part in parts if part.strip())


def renumbering(classes: tuple[str, ...], names: tuple[str, ...], task: Task, data: str) -> Labels:
    """The label that each class of the data has where they are counted in the order of these names, int64 ``(classes,)``.

    Args:
        classes: Of the data. Those that are only numbered are named, in their order.
        names: In the order of a model's outputs.
        task: Labels and numbers to predict are columns and stay where they are; they are named.
        data: Its name.

    Raises:
        DataError: A class is not among the names, or there are too few.
    """
    if set(classes) <= set(names) and task == "classification":
        return np.array([names.index(name) for name in classes], np.int64)
    nameless = classes == numbered(len(classes))
    fits = len(names) >= len(classes) if task == "classification" else len(names) == len(classes)
    if fits and (nameless or (task != "classification" and set(names) != set(classes))):
        return np.arange(len(classes), dtype=np.int64)
    lacking = [name for name in classes if name not in names]
    if nameless or not lacking:
        message = (
            f"{len(names)} names are given for the outputs, and {data!r} has {len(classes)} of them in its own order"
        )
        raise DataError(message + ("; give one for each" if len(names) != len(classes) else "; move its columns"))
    close = get_close_matches(lacking[0], names, 1)
    hint = f", which has {close[0]!r}" if close else ""
    message = (
        f"{data!r} has the class {lacking[0]!r}, which is not among the names given for the outputs{hint}: "
        f"{', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}; give every class of the data, written as it is there"
    )
    raise DataError(message)
