"""How the units of a width lie along an axis of an array."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from pysurgeon.graph.tensors import Array
from pysurgeon.graph.terms import Dim, Sum, Term, leaves


@dataclass(frozen=True)
class Select:
    """A map from n to m units with at most one entry a row: unit j becomes `scale[j]` times unit `index[j]`.

    Attributes:
        index: int64 (m,); -1 gives zeros.
        scale: float32 (m,).
    """

    index: Array
    scale: Array

    @staticmethod
    def of(index: Array, scale: Array | None = None) -> Select:
        """Plain selection where no scale is given."""
        index = np.asarray(index, dtype=np.int64)
        return Select(index, np.ones(len(index), np.float32) if scale is None else np.asarray(scale, np.float32))

    @property
    def size(self) -> int:
        """m."""
        return len(self.index)

    def squared(self) -> Select:
        """The map for second moments: those of the unit that was picked, whatever its share."""
        return Select.of(self.index)


@dataclass(frozen=True)
class Dense:
    """A map from n to m units by a matrix, float32 (m, n)."""

    matrix: Array

    @property
    def size(self) -> int:
        """m."""
        return int(self.matrix.shape[0])

    def squared(self) -> Dense:
        """The map for second moments: the mean square of a sum of independent terms."""
        return Dense(np.square(self.matrix))


@dataclass(frozen=True)
class Blockwise:
    """A map from n to m units for every occurrence of a dim along an axis, as heads have their own: float32 (occurrences, m, n)."""

    matrices: Array

    @property
    def size(self) -> int:
        """m."""
        return int(self.matrices.shape[1])

    def squared(self) -> Blockwise:
        """The map for second moments: the mean square of a sum of independent terms."""
        return Blockwise(np.square(self.matrices))


UnitMap = Select | Dense | Blockwise


def term_size(term: Term, resized: Mapping[Dim, int]) -> int:
    """Number of elements of a term after some dims were resized. All sizes must be known."""
    if isinstance(term, Dim):
        known = resized.get(term, term.size)
        assert known is not None
        return known
    if isinstance(term, Sum):
        return sum(term_size(p, resized) for p in term.parts)
    total = 1
    for factor in term.factors:
        total *= term_size(factor, resized)
    return total


def map_axis(
    array: Array, axis: int, term: Term, dim: Dim, unit_map: UnitMap, resized: Mapping[Dim, int] | None = None
) -> Array:
    """Apply a map to every occurrence of a dim along an axis.

    Args:
        array: float32, any shape.
        axis: The axis.
        term: What the axis consists of.
        dim: The dim that is resized.
        unit_map: From its n units to m.
        resized: Dims of this axis that were resized before, with their current sizes.

    Returns:
        A new array; `array` is not modified.
    """
    resized = resized or {}
    if isinstance(unit_map, Blockwise):
        return _map_each(array, axis, term, dim, unit_map, resized)
    from pysurgeon import kernels

    outer = int(np.prod(array.shape[:axis]))
    inner = int(np.prod(array.shape[axis + 1 :]))
    blocks = array.reshape(outer, array.shape[axis], inner)  # no -1: there may be nothing on another axis
    if isinstance(unit_map, Select):
        # What happens to every element of the axis is worked out first: so the tensor is gone through once, whatever the term.
        index, scale = _picked(blocks.shape[1], term, dim, unit_map, resized)
        if blocks.dtype == np.float32:
            mapped = kernels.gather_blocks(np.ascontiguousarray(blocks), index, scale)
        else:  # masks and indices are picked, never scaled
            assert np.all(scale == 1)
            mapped = blocks[:, index]
    else:
        matrix = np.ascontiguousarray(unit_map.matrix, dtype=np.float32)
        mapped = _map_blocks(blocks, term, dim, lambda x: kernels.map_blocks(np.ascontiguousarray(x), matrix), resized)
    return mapped.reshape(*array.shape[:axis], mapped.shape[1], *array.shape[axis + 1 :])


def _picked(count: int, term: Term, dim: Dim, unit_map: Select, resized: Mapping[Dim, int]) -> tuple[Array, Array]:
    """Which old element of an axis each new one is, -1 for none: int64; and what it is multiplied with: float32."""
    index, scale = unit_map.index, unit_map.scale[:, None]
    none = (index < 0)[:, None]
    positions = _map_blocks(
        np.arange(count).reshape(1, -1, 1), term, dim, lambda x: np.where(none, -1, x[:, index]), resized
    )
    factors = _map_blocks(np.ones((1, count, 1), np.float32), term, dim, lambda x: x[:, index] * scale, resized)
    return positions.reshape(-1), factors.reshape(-1)


def _map_each(array: Array, axis: int, term: Term, dim: Dim, unit_map: Blockwise, resized: Mapping[Dim, int]) -> Array:
    """A map of its own for every occurrence of a dim."""
    old, new = occurrences(term, dim, resized), occurrences(term, dim, {**resized, dim: unit_map.size})
    result = map_axis(array, axis, term, dim, Select.of(np.full(unit_map.size, -1)), resized)
    source, target = np.moveaxis(array, axis, 0), np.moveaxis(result, axis, 0)
    for before, after, matrix in zip(old, new, unit_map.matrices, strict=True):
        target[after] = np.tensordot(matrix, source[before], axes=1)
    return result


def occurrences(term: Term, dim: Dim, resized: Mapping[Dim, int] | None = None) -> Array:
    """Where the units of every occurrence of a dim are along an axis: int64 (occurrences, n)."""
    return units(np.arange(term_size(term, resized or {})), 0, term, dim, resized)


def _map_blocks(
    blocks: Array, term: Term, dim: Dim, leaf: Callable[[Array], Array], resized: Mapping[Dim, int]
) -> Array:
    """Map every occurrence of a dim along the middle axis of blocks (outer, n, inner) by a function of such blocks."""
    outer, _, inner = blocks.shape
    if term is dim:
        return leaf(blocks)
    if isinstance(term, Dim):
        return blocks
    if isinstance(term, Sum):
        ends = np.cumsum([term_size(p, resized) for p in term.parts])[:-1]
        pieces = np.split(blocks, ends, axis=1)
        mapped = [_map_blocks(b, p, dim, leaf, resized) for b, p in zip(pieces, term.parts, strict=True)]
        return np.concatenate(mapped, axis=1)
    current = [term_size(f, resized) for f in term.factors]
    for k, factor in enumerate(term.factors):
        if dim in leaves(factor):
            view = blocks.reshape(outer * prod(current[:k]), current[k], prod(current[k + 1 :]) * inner)
            view = _map_blocks(view, factor, dim, leaf, resized)
            current[k] = view.shape[1]
            blocks = view.reshape(outer, prod(current), inner)
    return blocks


def units(array: Array, axis: int, term: Term, dim: Dim, resized: Mapping[Dim, int] | None = None) -> Array:
    """The units of a dim along an axis as rows of samples.

    Args:
        array: An activation or a weight.
        axis: The axis that holds the units.
        term: What the axis consists of.
        dim: The dim.
        resized: Sizes of dims that differ from those in the term.

    Returns:
        Array of shape (samples, n): everything else is a sample.
    """
    outer = int(np.prod(array.shape[:axis]))
    inner = int(np.prod(array.shape[axis + 1 :]))
    pieces = _unit_blocks(array.reshape(outer, array.shape[axis], inner), term, dim, resized or {})
    return np.concatenate([p.transpose(0, 2, 1).reshape(p.shape[0] * p.shape[2], p.shape[1]) for p in pieces], axis=0)


def _unit_blocks(blocks: Array, term: Term, dim: Dim, resized: Mapping[Dim, int]) -> list[Array]:
    outer, _, inner = blocks.shape
    if term is dim:
        return [blocks]
    if isinstance(term, Dim):
        return []
    if isinstance(term, Sum):
        ends = np.cumsum([term_size(p, resized) for p in term.parts])[:-1]
        pieces = np.split(blocks, ends, axis=1)
        return [
            b for piece, part in zip(pieces, term.parts, strict=True) for b in _unit_blocks(piece, part, dim, resized)
        ]
    found: list[Array] = []
    for k, factor in enumerate(term.factors):
        current = [term_size(f, resized) for f in term.factors]
        view = blocks.reshape(outer * prod(current[:k]), current[k], prod(current[k + 1 :]) * inner)
        found += _unit_blocks(view, factor, dim, resized)
    return found
