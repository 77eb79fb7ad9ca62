"""Random weights of new units: written into what the maps of an edit made, where the units are, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pysurgeon.graph import Array
from pysurgeon.graph.widths import Width
from pysurgeon.surgery.edit import Edit, occurrences


def random_values(edit: Edit, width: Width, again: Array, *, pairs: bool, rng: np.random.Generator) -> dict[str, Array]:
    """Tensors after the maps of an edit, with random weights where a unit is new.

    Biases and norm parameters stay those of the unit that a new one was copied from, and so do tensors that carry shares. Readers stay
    as they are (they read new units with zero), unless two units make a pair: those they read with opposite weights.

    Args:
        edit: Maps of the width to more units, the new ones last and read with zero.
        width: The width.
        again: int64 (m,), for every unit itself, or the unit that it is the twin of.
        pairs: Whether there are twins.
        rng: What is drawn by.
    """
    model = edit.structure.model
    weights = (
        t
        for t, axis in width.writers
        if not width.exponents[t, axis] and model.tensor(t).ndim >= 2 and model.tensor(t).dtype == np.float32
    )
    written = {t: _drawn(edit, width, t, width.writers, again, 1.0, rng) for t in dict.fromkeys(weights)}
    for tensor, array in written.items():
        for rows, at in _new(edit, width, tensor, width.readers, array):  # written and read by one tensor
            rows[at] = 0.0
    read = [t for t, _ in width.readers] if pairs else []
    return written | {t: _drawn(edit, width, t, width.readers, again, -1.0, rng) for t in dict.fromkeys(read)}


def _drawn(
    edit: Edit,
    width: Width,
    tensor: str,
    places: tuple[tuple[str, int], ...],
    again: Array,
    twin: float,
    rng: np.random.Generator,
) -> Array:
    """A tensor with random numbers of its own scale for new units, those of a twin the ones of its unit times `twin`.

    Where twins are to cancel (`twin` below zero), units without one stay as they are.
    """
    before = edit.structure.model.tensor(tensor)
    spread = np.float32(np.linalg.norm(before.reshape(-1)) / np.sqrt(before.size) or 1e-3)
    array = edit.mapped(tensor, before)
    new = again[width.size :]
    twins = np.flatnonzero(new != np.arange(width.size, len(again)))
    units = new[twins] - width.size
    drawn = units if twin < 0 else np.setdiff1d(np.arange(len(new)), twins)
    for rows, at in _new(edit, width, tensor, places, array):
        noise = rng.standard_normal((len(at), len(drawn), *rows.shape[1:]), dtype=np.float32)
        noise *= spread
        rows[at[:, drawn]] = noise
    for rows, at in _new(edit, width, tensor, places, array):
        rows[at[:, twins]] = np.float32(twin) * rows[at[:, units]]
    return array


def _new(
    edit: Edit, width: Width, tensor: str, places: tuple[tuple[str, int], ...], array: Array
) -> Iterator[tuple[Array, Array]]:
    """Views of a mapped array with an axis of units first, and where along it new ones are: int64 (occurrences, new units)."""
    for name, axis in places:
        if name == tensor:
            at = occurrences(edit.structure.term(tensor, axis), width.dim, edit.resized)
            yield np.moveaxis(array, axis, 0), at[:, width.size :]
