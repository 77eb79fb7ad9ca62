"""What no operation may touch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pysurgeon.errors import UsageError
from pysurgeon.graph.layers import Layer
from pysurgeon.graph.widths import Structure, Width
from pysurgeon.surgery import AddBypass, Narrow, Operation, Widen


@dataclass(frozen=True)
class Kept:
    """Widths and layers that stay as they are, by their names.

    A layer that stays keeps its weight's shape, so the widths that it reads and writes stay, too. Training adjusts its values.

    Attributes:
        patterns: Shell patterns: `conv1`, `head*`.
    """

    patterns: tuple[str, ...] = ()

    def name(self, name: str) -> bool:
        """Whether a width or layer of this name was asked to stay."""
        return any(fnmatchcase(name, pattern) for pattern in self.patterns)

    def width(self, structure: Structure, width: Width) -> bool:
        """Whether a width stays: by its name, or for a layer that does."""
        weights = {x.weight for x in structure.layers if self.name(x.name)}
        return self.name(width.name) or any(t in weights for t, _ in (*width.writers, *width.readers))

    def layer(self, layer: Layer) -> bool:
        """Whether a layer stays."""
        return self.name(layer.name)

    def forbids(self, structure: Structure, operation: Operation) -> bool:
        """Whether an operation would touch what stays."""
        if not self.patterns:
            return False
        if isinstance(operation, Widen | Narrow):
            return self.width(structure, structure.width(operation.width))
        ends = (operation.layer, operation.last) if isinstance(operation, AddBypass) else (operation.site,)
        return any(self.name(name) for name in ends if name)

    def check(self, structure: Structure) -> None:
        """Refuse patterns that name nothing.

        Raises:
            UsageError: A pattern fits no width and no layer.
        """
        names = dict.fromkeys([*(w.name for w in structure.widths), *(x.name for x in structure.layers)])
        for pattern in self.patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                message = f"--keep {pattern!r} fits no width and no layer of this model; there are {_some(list(names))}"
                raise UsageError(message)


def _some(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
