"""Names that are free."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir


class Names:
    """Hands out names, each only once."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def unique(self, wanted: str) -> str:
        """`wanted`, or `wanted_2`, `wanted_3`, ... if it is taken."""
        candidate, k = wanted, 2
        while candidate in self._taken:
            candidate, k = f"{wanted}_{k}", k + 1
        self._taken.add(candidate)
        return candidate


def value_names(graph: ir.Graph) -> set[str]:
    """All names of values and nodes of a graph."""
    names = {str(v.name) for v in graph.inputs} | set(graph.initializers)
    for node in graph:
        names |= {str(o.name) for o in node.outputs} | {str(node.name)}
    return names


def some(names: list[str]) -> str:
    """The first names of a list, for a message, and how many more there are."""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
