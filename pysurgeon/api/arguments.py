"""What callers of the Python interface may give: models, operations, data and settings, each in more than one form."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

from pysurgeon.data import MATCH, Dataset, Reading, Source, name_of, read_names
from pysurgeon.errors import DataWarning, UsageError
from pysurgeon.model import Model, load
from pysurgeon.settings import EvolveSettings
from pysurgeon.settings_schema import settings_in, with_new_names
from pysurgeon.surgery import Operation, parse
from pysurgeon.training import load_for

if TYPE_CHECKING:
    from typing_extensions import Unpack

P = ParamSpec("P")
R = TypeVar("R")

ModelSource: TypeAlias = Model | str | os.PathLike[str]
"""A loaded model, or the path of an ``.onnx`` file."""

DataSource: TypeAlias = Source | Dataset
"""The name of a data set or a file, arrays by their names, or what `pysurgeon.data.load` returns."""


def loaded(model: object) -> Model:
    """The model that a caller means."""
    if isinstance(model, Model):
        return model
    return load(model)  # type: ignore[arg-type]  # says what it was given


def data_for(data: DataSource, *models: Model, seed: int = 0, **reading: Unpack[Reading]) -> Dataset:
    """The data that a caller means, as the models expect it; what is doubtful about that is a warning."""
    return doubted(load_for(data, *models, seed=seed, **reading), data, stacklevel=4)


def doubted(found: Dataset, given: object, stacklevel: int = 4) -> Dataset:
    """Data as a model expects it, with a warning of what is doubtful about that, if whoever gave it has not been warned."""
    for caution in found.cautions:
        if not isinstance(given, Dataset) or caution not in given.cautions:
            warnings.warn(caution, DataWarning, stacklevel=stacklevel)
    return found


def operation_of(operation: object) -> Operation:
    """The operation that a caller means."""
    if isinstance(operation, Operation):
        return operation
    if isinstance(operation, str):
        return parse(operation)
    message = (
        f"{operation!r:.80} is no operation; give such as Widen('conv1', 64) or 'widen:conv1=64', one after another"
    )
    raise UsageError(message)


def path_of(path: object, what: str) -> Path:
    """The path that a caller means.

    Args:
        path: As given.
        what: It is the path of, for the message.
    """
    if isinstance(path, str | os.PathLike):
        return Path(path)
    message = f"{what} is {path!r:.80}; give a path"
    raise UsageError(message)


def ensure_observer(observer: object) -> None:
    """See before anything has begun that an observer can be told what happens."""
    missing = [name for name in ("happened", "training") if not callable(getattr(observer, name, None))]
    if observer is not None and missing:
        message = (
            f"the observer {observer!r:.80} has no method {' and none '.join(map(repr, missing))}; give an object with "
            "happened(event) and training(branch, step, loss), see pysurgeon.Observer"
        )
        raise UsageError(message)


def settings_by_name(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function of a model and data take settings in the place of the data for one version more, with a warning."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        if len(args) > 1 and isinstance(args[1], EvolveSettings):
            if kwargs.get("settings") is not None:
                message = f"{function.__name__} was given settings twice; give them once, as settings=..."
                raise UsageError(message)
            message = (
                f"the second argument of {function.__name__} is the data; give settings as settings=..., since in its place "
                "they will not be taken any more"
            )
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            kwargs["settings"] = args[1]
            args = (args[0], *args[2:])  # type: ignore[assignment]  # what takes its place is a keyword now
        return function(*args, **kwargs)

    return wrapper


def settings_of(settings: object, data: object, options: Mapping[str, Any]) -> EvolveSettings:
    """The settings that a call asks for, one way or the other."""
    changes = with_new_names(EvolveSettings, options, stacklevel=5)
    if changes.get("classes") is not None and changes["classes"] != MATCH:
        changes["classes"] = read_names(changes["classes"])  # a file may be gone when a run goes on
    if isinstance(data, EvolveSettings):
        message = "the data is of type EvolveSettings; give settings as settings=..."
        raise UsageError(message)
    if data is not None:
        changes["data"] = data.name if isinstance(data, Dataset) else name_of(data)
    known = list(settings_in(EvolveSettings))
    for name in changes:
        if name not in known:
            raise UsageError(_unknown(name, known))
    if "steps" in changes:
        changes.setdefault("epochs", None)  # who gives the one does not want the default of the other
    if isinstance(settings, EvolveSettings):
        return replace(settings, **changes)
    if settings is not None:
        message = f"the settings are of type {type(settings).__name__}; give an EvolveSettings, or its fields one by one, such as epochs=5"
        raise UsageError(message)
    if "data" not in changes:
        message = "there is nothing to learn from; give data, or settings that name it"
        raise UsageError(message)
    return EvolveSettings(**changes)


def _unknown(name: str, known: list[str]) -> str:
    """What to say of a setting that there is none of."""
    close = get_close_matches(name, known, 3) or known
    return f"there is no setting {name!r}; there {'is' if len(close) == 1 else 'are'} {', '.join(close)}"
