"""What a model costs."""

from __future__ import annotations

from dataclasses import dataclass

from pysurgeon.graph.model import Model
from pysurgeon.graph.registry import lookup


@dataclass(frozen=True)
class Costs:
    """Trainable parameters, and multiply-accumulate operations for one sample."""

    parameters: int
    macs: int


def costs(model: Model) -> Costs:
    """Count the costs of a model. Operators that are not known, and elementwise ones, count no operations."""
    macs = 0
    for node in model.nodes:
        operator = lookup(node)
        if operator is not None and operator.macs is not None:
            macs += operator.count(node)
    return Costs(model.parameter_count(), macs)
