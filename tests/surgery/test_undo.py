"""What an operation says takes it back does so exactly, whatever was done elsewhere before."""

from __future__ import annotations

import models
import pytest
from checks import assert_valid, attempt, difference, loaded, structure

from pysurgeon.errors import Refused
from pysurgeon.graph.widths import Structure
from pysurgeon.surgery import AddBypass, Calibration, Factorize, InsertLayer, Narrow, RemoveLayer, Widen, operate, parse
from pysurgeon.surgery.operation import Operation

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
        if (
            isinstance(operation, Widen)
            and Structure(model).width(operation.width).products
            and operation.how == "split"
        ):
            continue  # copies of what is multiplied unit by unit have nothing that could stand in for them
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
