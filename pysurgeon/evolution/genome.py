"""A genome says by which operations a topology came about. What was taken back again need not be told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pysurgeon.errors import Refused
from pysurgeon.model import Model
from pysurgeon.surgery import Calibration, apply_edit, parse
from pysurgeon.widths.structure import Structure


@dataclass(frozen=True)
class Replay:
    """What operations make of the start, but for the values of its weights.

    Attributes:
        topology: Layers and widths by name and size, operators, and the shapes of tensors, as something that can be compared.
        undo: What takes each operation back, as written on the command line; empty where nothing does.
    """

    topology: Any
    undo: tuple[str, ...]


def replay(start: Model, genome: Sequence[str], calibration: Calibration) -> Replay:
    """Carry out the operations of a genome, without fitting anything.

    Raises:
        Refused: One of them is not possible.
    """
    model, undo = start, []
    for text in genome:
        operation, structure = parse(text), Structure(model)
        if operation.exact:
            plan = operation.plan(structure, calibration)
            model = apply_edit(plan.edit)
            undo.append("" if plan.undo is None else str(plan.undo))
        else:
            model = apply_edit(operation.outline(structure, calibration))
            undo.append("")
    return Replay(topology(model), tuple(undo))


def shortened(
    start: Model, genome: Sequence[str], operations: Sequence[str], calibration: Calibration
) -> tuple[str, ...]:
    """A genome with further operations, without those that take an earlier one back and without what they take back.

    Two entries are only left out if what is left replays to the same topology, all names included, so that whatever comes later
    means the same.

    Args:
        start: What the genome is replayed on.
        genome: Operations since the start.
        operations: Those that come now.
        calibration: For planning.
    """
    now = tuple(genome)
    for text in operations:
        now = _without_pair((*now, text), start, calibration)
    return now


def _without_pair(genome: tuple[str, ...], start: Model, calibration: Calibration) -> tuple[str, ...]:
    *earlier, last = genome
    if not earlier or parse(last).exact:
        return genome
    try:
        whole = replay(start, genome, calibration)
    except Refused:
        return genome  # on the start as it is, some fit might not be possible
    for k in reversed(range(len(earlier))):
        if whole.undo[k] == last:
            shorter = (*earlier[:k], *earlier[k + 1 :])
            try:
                if replay(start, shorter, calibration).topology == whole.topology:
                    return shorter
            except Refused:
                continue
    return genome


def topology(model: Model) -> Any:
    """What a model is made of: layers and widths by name and size, operators, and the shapes of its tensors."""
    structure = Structure(model)
    arrays = [model.tensor(name) for name in model.tensors()]
    return (
        sorted((x.name, x.operator) for x in structure.layers),
        sorted((w.name, w.size) for w in structure.widths),
        Counter(node.op_type for node in model.nodes),
        Counter(a.shape for a in arrays if a.dtype.kind == "f"),
    )
