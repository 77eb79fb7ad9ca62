"""What an operation says takes it back does so exactly, whatever was done elsewhere before."""

from __future__ import annotations

import models
import numpy as np
import pytest
from checks import assert_valid, attempt, difference, loaded, structure
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_networks import networks

from pysurgeon.errors import Refused
from pysurgeon.surgery import AddBypass, Calibration, Factorize, InsertLayer, Narrow, RemoveLayer, Widen, operate, parse
from pysurgeon.surgery.operation import Operation
from pysurgeon.widths.structure import Structure

EXAMPLES = 30
SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in models.NEW_EXPORTER]


def undoable(s: Structure) -> list[Operation]:
    found: list[Operation] = []
    for width in s.widths:
        found += [Widen(width.name, 2 * width.size), Widen(width.name, 2 * width.size, how="split")]
    for layer in s.layers:
        found += [InsertLayer(layer.name), AddBypass(layer.name)]
    return found


@pytest.mark.parametrize("name", [*models.RUNNABLE, "cnn_bn.training", "mobile.training", *SLOW])
def test_back_to_the_same_topology_and_function(name):
    model = loaded(name)
    calibration = Calibration(model)
    for operation in undoable(structure(name)):
        done = attempt(model, operation, calibration)
        if isinstance(done, Refused):
            continue
        assert done.record.undo
        back = operate(done.model, parse(done.record.undo), calibration)
        assert back.record.predicted_error <= 2e-5, operation
        assert back.record.measured_error <= 2e-5, operation
        assert difference(model, back.model) <= 2e-5, operation
        assert_valid(back.model, like=model)
        assert back.model.parameter_count() == model.parameter_count(), operation
        assert {w.name: w.size for w in Structure(back.model).widths} == {
            w.name: w.size for w in structure(name).widths
        }


@pytest.mark.parametrize("operation", [Narrow("1", 4), RemoveLayer("3"), Factorize("3", 2)])
def test_what_lost_something_cannot_be_taken_back(operation):
    assert operate(loaded("mlp_relu.legacy"), operation).record.undo == ""


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(model=networks(), more=st.integers(1, 9), seed=st.integers(0, 99))
def test_copies_go_back_into_one(model, more, seed):
    """On any input, and however their shares are carried: every tensor is what it was."""
    s = Structure(model)
    for width in s.widths:
        if not (width.exact or width.averaged):
            continue
        size = width.size + more if width.exact else (1 + more % 3) * width.size
        if size == width.size:
            continue
        wider = operate(model, Widen(width.name, size, how="split", seed=seed)).model
        back = operate(wider, Narrow(width.name, width.size))
        assert back.record.predicted_error == 0
        for tensor in model.trainable():
            was = model.tensor(tensor)
            # What parts copies has the scale of the tensor, and leaves its rounding when they are summed.
            close = 1e-6 * max(np.abs(was).max(initial=0), 0.1)
            assert np.allclose(back.model.tensor(tensor), was, rtol=1e-5, atol=close), (width, tensor)


def test_copies_that_have_learnt_are_none():
    """What reads them may differ as it likes; what writes them may not."""
    model = loaded("mlp_relu.legacy")
    wider = operate(model, Widen("1", 18, how="split", seed=3)).model
    for tensor, axis, exact in (("3.weight", 1, True), ("1.weight", 0, False)):
        moved = wider.tensor(tensor).copy()
        np.moveaxis(moved, axis, 0)[0] += 0.1
        learnt = wider.with_tensors({tensor: moved})
        done = operate(learnt, Narrow("1", 9))
        assert (difference(learnt, done.model) <= 2e-5) is exact
