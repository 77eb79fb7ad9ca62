"""Data for a command: read, and told what it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pysurgeon.cli._app import err

if TYPE_CHECKING:
    from pysurgeon.data import Dataset
    from pysurgeon.model import Model


# Seconds after which somebody who waits is told what for.
_LONG = 2.0


def read_for(given: Mapping[str, Any], *models: Model) -> Dataset:
    """Load the data that a command was given for models, and say what it is and what is doubtful about it."""
    from pysurgeon.cli._settings import READING
    from pysurgeon.training import load_for

    with patience(f"reading {given['data']}"):
        found = load_for(given["data"], *models, seed=given["seed"], **{name: given[name] for name in READING})
    tell(found)
    return found


@contextmanager
def patience(doing: str) -> Iterator[None]:
    """Say what is going on: at once on a terminal, where it goes again; elsewhere in a line, if it takes long."""
    if err.is_terminal:
        with err.status(doing):
            yield
        return
    timer = threading.Timer(_LONG, lambda: err.print(f"{doing} ...", markup=False, soft_wrap=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def tell(data: Dataset) -> None:
    """Say what data is and what is doubtful about it."""
    err.print(data.summary(), markup=False, soft_wrap=True)
    for caution in data.cautions:
        err.print(f"warning: {caution}", style="yellow", markup=False, soft_wrap=True)
