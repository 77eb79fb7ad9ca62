"""What no operation may touch."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from pysurgeon.errors import Refused, UsageError
from pysurgeon.graph.names import some
from pysurgeon.surgery import AddBypass, Calibration, Operation
from pysurgeon.widths.structure import Structure, Width


@dataclass(frozen=True)
class Kept:
    """Widths and layers that stay as they are, by their names.

    No operation changes the weight of a layer that stays, so the widths that it reads and writes stay, too. Training adjusts its values.

    Attributes:
        patterns: Shell patterns: `conv1`, `head*`.
    """

    patterns: tuple[str, ...] = ()

    def name(self, name: str) -> bool:
        """Whether a width or layer of this name was asked to stay."""
        return any(fnmatchcase(name, pattern) for pattern in self.patterns)

    def width(self, structure: Structure, width: Width) -> bool:
        """Whether a width stays: by its name, or for a layer that does."""
        weights = self._weights(structure)
        return self.name(width.name) or any(t in weights for t, _ in (*width.writers, *width.readers))

    def forbids(self, structure: Structure, operation: Operation, calibration: Calibration) -> bool:
        """Whether an operation would touch what stays: by its site, or by the tensors that it changes, those of its neighbours included."""
        if not self.patterns:
            return False
        ends = (operation.layer, operation.last) if isinstance(operation, AddBypass) else (operation.site,)
        if any(self.name(name) for name in ends if name):
            return True
        try:
            edit = operation.outline(structure, calibration)
        except Refused:
            return False  # nothing will be touched
        return not self._weights(structure).isdisjoint([*(m.tensor for m in edit.maps), *edit.values])

    def _weights(self, structure: Structure) -> set[str]:
        return {x.weight for x in structure.layers if self.name(x.name)}

    def check(self, structure: Structure) -> None:
        """Refuse patterns that name nothing.

        Raises:
            UsageError: A pattern fits no width and no layer.
        """
        names = dict.fromkeys([*(w.name for w in structure.widths), *(x.name for x in structure.layers)])
        for pattern in self.patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                message = f"--keep {pattern!r} fits no width and no layer of this model; there are {some(list(names))}"
                raise UsageError(message)
