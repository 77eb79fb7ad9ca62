"""What callers of the Python interface may give: models, operations, data and settings, each in more than one form."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any, TypeAlias

from pysurgeon.data import Dataset, Source, name_of
from pysurgeon.errors import UsageError
from pysurgeon.evolution import EvolveSettings
from pysurgeon.graph import Model, load
from pysurgeon.surgery import Operation, parse

ModelSource: TypeAlias = Model | str | os.PathLike[str]
"""A loaded model, or the path of an ``.onnx`` file."""

DataSource: TypeAlias = Source | Dataset
"""The name of a data set or a file, arrays by their names, or what `pysurgeon.data.load` returns."""


def loaded(model: object) -> Model:
    """The model that a caller means."""
    if isinstance(model, Model):
        return model
    return load(model)  # type: ignore[arg-type]  # says what it was given


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


def settings_of(settings: EvolveSettings | None, data: DataSource | None, options: Mapping[str, Any]) -> EvolveSettings:
    """The settings that a call asks for, one way or the other."""
    changes = dict(options)
    if data is not None:
        changes["data"] = data.name if isinstance(data, Dataset) else name_of(data)
    known = [f.name for f in fields(EvolveSettings)]
    for name in changes:
        if name not in known:
            close = get_close_matches(name, known, 3) or known
            message = f"there is no setting {name!r}; there {'is' if len(close) == 1 else 'are'} {', '.join(close)}"
            raise UsageError(message)
    if "steps" in changes:
        changes.setdefault("epochs", None)  # who gives the one does not want the default of the other
    if settings is not None:
        return replace(settings, **changes)
    if "data" not in changes:
        message = "there is nothing to learn from; give data, or settings that name it"
        raise UsageError(message)
    return EvolveSettings(**changes)
