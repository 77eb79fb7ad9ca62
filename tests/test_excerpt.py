"""The part of a model that an edit touches says what the whole model says, and sees every mistake that the whole model shows."""

from __future__ import annotations

import models
import numpy as np
import pytest
from checks import difference, loaded, structure

from benchmarks.excerpt import InseparableError, all_values, excerpt
from pysurgeon.model.feeds import random_feeds
from pysurgeon.surgery import Calibration, InsertLayer, Widen, apply_edit, operate
from pysurgeon.surgery.edits.edit import AxisMap, Edit
from pysurgeon.widths.axis_layout import Select

NAMES = [n for n in models.RUNNABLE if n != "subgraph" and any(w.exact and w.size > 1 for w in structure(n).widths)]


@pytest.mark.parametrize("name", NAMES)
def test_a_right_edit_passes_and_every_wrong_order_is_seen(name):
    model = loaded(name)
    values = all_values(model, random_feeds(model, batch=2))
    for width in structure(name).widths:
        if not width.exact or width.size < 2:
            continue
        edit = Widen(width.name, width.size + 2, how="split", seed=1).plan(structure(name), Calibration(model)).edit
        assert excerpt(model, apply_edit(edit)).error(values) <= 1e-5
        for k, m in enumerate(edit.maps):
            assert isinstance(m.map, Select)
            shifted = AxisMap(m.tensor, m.axis, m.dim, Select(np.roll(m.map.index, 1), m.map.scale))
            wrong = apply_edit(Edit(structure(name), (*edit.maps[:k], shifted, *edit.maps[k + 1 :])))
            if difference(model, wrong) > 1e-5:
                assert excerpt(model, wrong).error(values) > 1e-4, (width.name, m.tensor)


def test_the_part_is_small():
    """One block of a residual network: what it adds to the stream is all that leaves."""
    name = "residual.training"
    width = next(w for w in structure(name).widths if w.exact and w.name.endswith("conv1"))
    edit = Widen(width.name, width.size + 1).plan(structure(name), Calibration(loaded(name))).edit
    part = excerpt(loaded(name), apply_edit(edit))
    assert len(part.outputs) == 1
    assert len(list(part.before.nodes)) < len(list(loaded(name).nodes)) / 2


def test_graphs_of_other_nodes_cannot_be_told_apart():
    model = loaded("mlp_relu.legacy")
    with pytest.raises(InseparableError, match="added or removed"):
        excerpt(model, operate(model, InsertLayer("1")).model)
    with pytest.raises(InseparableError, match="nothing"):
        excerpt(model, model)
    with pytest.raises(InseparableError, match="graph inside"):
        excerpt(loaded("subgraph"), loaded("subgraph"))
