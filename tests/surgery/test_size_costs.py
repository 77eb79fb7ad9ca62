"""Costs told from sizes alone are those of the models that have these sizes."""

from __future__ import annotations

import numpy as np
import pytest

from pysurgeon.diagnosis.cut import outlined
from pysurgeon.model import from_proto
from pysurgeon.model.costs import costs
from pysurgeon.surgery.size_costs import SizeCosts
from pysurgeon.widths.structure import Structure
from tests.models import HAND_MADE, TORCH, build


@pytest.mark.parametrize("name", [*(f"{name}.{e}" for name in TORCH for e in ("legacy", "dynamo")), *HAND_MADE])
def test_costs_at_any_sizes_are_those_of_the_model_that_has_them(name: str) -> None:
    structure = Structure(from_proto(build(name)))
    free = [w for w in structure.widths if w.resizable]
    at = SizeCosts(structure)
    assert at({}) == costs(structure.model)
    rng = np.random.default_rng(0)
    for _ in range(4):
        # Some as they are, some of one unit, in any order: what was counted before must not stay.
        sizes = {w.name: int(rng.integers(1, w.size + 1)) for w in free if rng.random() < 0.7}
        assert at(sizes) == costs(outlined(structure, sizes)), sizes
    assert at({}) == costs(structure.model)
