"""Random operations, for the strategy by chance and for controls."""

from __future__ import annotations

import numpy as np

from pysurgeon.errors import Refused
from pysurgeon.evolution.branch import Candidate
from pysurgeon.evolution.keep import Kept
from pysurgeon.model.costs import costs
from pysurgeon.settings import EvolveSettings
from pysurgeon.surgery import (
    AddBypass,
    Calibration,
    Factorize,
    InsertLayer,
    Narrow,
    Operation,
    RemoveLayer,
    Widen,
    apply_edit,
)
from pysurgeon.surgery.layers.weight_matrices import form_of
from pysurgeon.surgery.operations.factorize import largest_rank
from pysurgeon.widths.structure import Structure


def random_candidate(
    structure: Structure, calibration: Calibration, settings: EvolveSettings, rng: np.random.Generator, kept: Kept
) -> Candidate | None:
    """A random operation at a random site that is possible there; `None` if a hundred draws find none."""
    sites = [w.name for w in structure.widths if w.resizable], [x.name for x in structure.layers]
    seed = int(rng.integers(2**31))
    for _ in range(100):
        operation = _draw(structure, sites, rng, seed, may_grow=settings.may_grow)
        if operation is None or kept.forbids(structure, operation, calibration):
            continue
        try:
            after = costs(apply_edit(operation.outline(structure, calibration)))
        except Refused:
            continue
        before = costs(structure.model)
        smaller = (after.parameters, after.macs) < (before.parameters, before.macs)
        if settings.may_grow or smaller:
            return Candidate("random", (str(operation),), seed)
    return None


def _draw(
    structure: Structure,
    sites: tuple[list[str], list[str]],
    rng: np.random.Generator,
    seed: int,
    *,
    may_grow: bool,
) -> Operation | None:
    widths, layers = sites
    grow = ["widen", "insert", "bypass"] if may_grow else []
    kind = str(rng.choice([*grow, "narrow", "remove", "factorize"]))
    if kind in ("widen", "narrow"):
        if not widths:
            return None
        width = structure.width(str(rng.choice(widths)))
        factor = float(rng.choice([1.25, 1.5, 2.0]))
        if kind == "widen":
            return Widen(width.name, max(width.size + 1, round(width.size * factor)), seed=seed)
        size = min(width.size - 1, round(width.size / factor))
        return Narrow(width.name, size) if size >= 1 else None
    if not layers:
        return None
    layer = structure.layer(str(rng.choice(layers)))
    if kind == "insert":
        return InsertLayer(layer.name, seed=seed)
    if kind == "bypass":
        return AddBypass(layer.name)
    if kind == "remove":
        return RemoveLayer(layer.name)
    try:
        form = form_of(structure, layer)
    except Refused:
        return None
    largest = largest_rank((form.rows, form.columns))
    return Factorize(layer.name, int(rng.integers(1, largest + 1))) if largest >= 1 else None
