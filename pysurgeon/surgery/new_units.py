"""Random weights of new units: written into what the maps of an edit made, where the units are, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pysurgeon.graph import Array
from pysurgeon.graph.widths import Width
from pysurgeon.surgery._copies import summed
from pysurgeon.surgery.edit import Edit, occurrences


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
    copies = np.bincount(source, minlength=width.size)
    read: dict[str, Array] = {}
    for tensor, _ in width.readers if summed(edit.structure, width) else ():
        before = edit.structure.model.tensor(tensor)
        if tensor in read or before.dtype != np.float32:
            continue
        array = read[tensor] = edit.mapped(tensor, before)
        for rows, at in _units(edit, width, tensor, width.readers, array):
            noise = rng.standard_normal((*at.shape, *rows.shape[1:]), dtype=np.float32)
            total = np.zeros((len(at), width.size, *rows.shape[1:]), np.float32)
            np.add.at(total.swapaxes(0, 1), source, noise.swapaxes(0, 1))
            by_unit = (1, -1, *(1 for _ in rows.shape[1:]))
            noise -= total[:, source] / copies[source].reshape(by_unit).astype(np.float32)
            rows[at] += _scale(before) * noise
    return read


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
