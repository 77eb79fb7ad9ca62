"""Random weights of new units: written into what the maps of an edit made, where the units are, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from pysurgeon.graph import Array
from pysurgeon.surgery.edits.edit import Edit
from pysurgeon.surgery.methods.duplicate_units import summed
from pysurgeon.widths.axis_layout import occurrences
from pysurgeon.widths.structure import Width


def random_writers(edit: Edit, width: Width, rng: np.random.Generator) -> dict[str, Array]:
    """Tensors that write a width, with random weights of their own scale where a unit is new.

    Biases and norm parameters stay those of the unit that a new one was copied from, and so do tensors that carry shares. Where a
    tensor reads the width, too, it goes on reading new units with zero.

    Args:
        edit: Maps of the width to more units, the new ones last and read with zero.
        width: The width.
        rng: What is drawn by.
    """
    model = edit.structure.model
    written: dict[str, Array] = {}
    for tensor, axis in width.writers:
        before = model.tensor(tensor)
        if tensor in written or width.exponents[tensor, axis] or before.ndim < 2 or before.dtype != np.float32:
            continue
        array = written[tensor] = edit.mapped(tensor, before)
        for rows, at in _units(edit, width, tensor, width.writers, array):
            new = at[:, width.size :]
            rows[new] = _scale(before) * rng.standard_normal((*new.shape, *rows.shape[1:]), dtype=np.float32)
    for tensor, array in written.items():
        for rows, at in _units(edit, width, tensor, width.readers, array):
            rows[at[:, width.size :]] = 0.0
    return written


def parted_readers(edit: Edit, width: Width, source: Array, rng: np.random.Generator) -> dict[str, Array]:
    """Tensors that read a width, with random weights that sum to zero over the copies of every unit.

    What is added has the scale of the tensor, as all new weights have. Less parts the copies too slowly, more drowns what has been learnt
    (`docs/training.md`). Nothing is added where the copies are not equal, since writers carry the shares.

    Args:
        edit: Maps of the width to copies of its units.
        width: The width.
        source: int64 (m,), which old unit every unit is a copy of.
        rng: What is drawn by.
    """
    copies = [np.flatnonzero(source == unit) for unit in np.flatnonzero(np.bincount(source) > 1)]
    read: dict[str, Array] = {}
    for tensor, _ in width.readers if summed(edit.structure, width) else ():
        before = edit.structure.model.tensor(tensor)
        if tensor in read or before.dtype != np.float32:
            continue
        array, scale = edit.mapped(tensor, before), _scale(before)
        read[tensor] = array
        for rows, at in _units(edit, width, tensor, width.readers, array):
            for alike in copies:  # one unit at a time: of a large tensor, nothing is held twice
                noise = rng.standard_normal((len(at), len(alike), *rows.shape[1:]), dtype=np.float32)
                rows[at[:, alike]] += scale * (noise - noise.mean(1, keepdims=True))
    return read


def in_pairs(edit: Edit, width: Width, rng: np.random.Generator) -> Edit:
    """The same edit with fresh units in pairs: two write the same, and are read with opposite random weights.

    That keeps the function, and whatever is new has a gradient at once. It is for looking at what new units would learn; where they have
    to learn, fresh ones get further. An odd unit stays fresh, and all do where pairs would not cancel.

    Args:
        edit: Maps of the width to more units, the new ones last and read with zero.
        width: The width.
        rng: What is drawn by.
    """
    pairs = (edit.resized[width.dim] - width.size) // 2
    first, second = width.size + np.arange(2 * pairs).reshape(2, pairs)
    values = dict(edit.values)
    for places, sign in ((width.writers, 1.0), (width.readers, -1.0)) if summed(edit.structure, width) else ():
        for tensor, _ in places:
            before = edit.structure.model.tensor(tensor)
            if before.dtype != np.float32:
                continue
            array = np.array(values[tensor]) if tensor in values else edit.mapped(tensor, before)
            for rows, at in _units(edit, width, tensor, places, array):
                if sign < 0:
                    noise = rng.standard_normal((len(at), len(first), *rows.shape[1:]), dtype=np.float32)
                    rows[at[:, first]] = _scale(before) * noise
                rows[at[:, second]] = np.float32(sign) * rows[at[:, first]]
            values[tensor] = array
    return replace(edit, values=values)


def _scale(tensor: Array) -> np.float32:
    """Root mean square of a tensor's elements; small, but not zero, where it is all zeros."""
    return np.float32(np.linalg.norm(tensor.reshape(-1)) / np.sqrt(tensor.size) or 1e-3)


def _units(
    edit: Edit, width: Width, tensor: str, places: tuple[tuple[str, int], ...], array: Array
) -> Iterator[tuple[Array, Array]]:
    """Views of a mapped array with an axis of units first, and where along it the units are: int64 (occurrences, units)."""
    for name, axis in places:
        if name == tensor:
            yield np.moveaxis(array, axis, 0), occurrences(edit.structure.term(tensor, axis), width.dim, edit.resized)
