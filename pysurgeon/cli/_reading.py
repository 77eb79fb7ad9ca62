"""Data for a command: read, and told what it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pysurgeon.cli._app import err

if TYPE_CHECKING:
    from pysurgeon.data import Dataset
    from pysurgeon.model import Model


def read_for(given: Mapping[str, Any], *models: Model) -> Dataset:
    """Load the data that a command was given for models, and say what it is and what is doubtful about it."""
    from pysurgeon.cli._settings import READING
    from pysurgeon.training import load_for

    with err.status(f"reading {given['data']}"):
        found = load_for(given["data"], *models, seed=given["seed"], **{name: given[name] for name in READING})
    tell(found)
    return found


def tell(data: Dataset) -> None:
    """Say what data is and what is doubtful about it."""
    err.print(data.summary(), markup=False, soft_wrap=True)
    for caution in data.cautions:
        err.print(f"warning: {caution}", style="yellow", markup=False, soft_wrap=True)
