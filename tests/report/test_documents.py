from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pysurgeon.data import Dataset, Split
from pysurgeon.diagnosis import diagnose, recommend
from pysurgeon.errors import DataError, Refused
from pysurgeon.evolution import read
from pysurgeon.model import Model, from_proto
from pysurgeon.model.costs import costs
from pysurgeon.report import (
    apply_json,
    compare,
    document,
    evolve_json,
    inspect,
    inspect_json,
    recommend_json,
)
from pysurgeon.surgery import Calibration, Factorize, InsertLayer, Operation, RemoveLayer, operate, parse
from pysurgeon.widths.structure import Structure
from tests.kinds import KINDS
from tests.kinds import network as network_of
from tests.models import build
from tests.report.lineage import network, write_run


def test_inspect_has_the_keys_that_stay() -> None:
    found = json.loads(json.dumps(inspect_json(network()), allow_nan=False))
    assert set(found) == {"model", "widths", "layers"}
    assert found["model"] == {
        "parameters": 51,
        "macs": 42,
        "macs_at": {},
        "not_finite": {},
        "opset": 17,
        "ir_version": 9,
        "inputs": [{"name": "x", "shape": [None, 4], "dtype": "float32"}],
        "outputs": [{"name": "y", "shape": [None, 3], "dtype": "float32"}],
    }
    assert found["widths"][0] == {
        "name": "fc1",
        "size": 6,
        "multiple": 1,
        "resizable": True,
        "exact": True,
        "reason": "",
        "writers": [["fc1.weight", 0], ["fc1.bias", 0]],
        "readers": [["fc2.weight", 1]],
    }
    assert found["layers"][0] == {
        "name": "fc1",
        "operator": "Gemm",
        "parameters": 30,
        "macs": 24,
        "insertable": True,
        "removable": True,
        "factorizable": True,
        "reason": "",
    }
    last = found["layers"][1]
    assert not last["insertable"]
    assert not last["removable"]
    assert last["reason"].startswith("insert: ")


@pytest.mark.parametrize(
    "name",
    [
        "cnn.legacy",
        "residual.legacy",
        "grouped.legacy",
        "mixer.legacy",
        "tied.legacy",
        "flatten_nhwc.legacy",
        "conv1d.legacy",
        "float64.legacy",
        "left_weight",
        "overridable",
        "shared_bias",
        "fixed_batch",
    ],
)
def test_the_flags_keep_their_word(name: str) -> None:
    keep_their_word(from_proto(build(name)))


@pytest.mark.parametrize("kind", KINDS)
def test_those_of_layers_that_are_no_plain_matrix_keep_it_too(kind: str) -> None:
    keep_their_word(network_of(kind))


def keep_their_word(model: Model) -> None:
    for layer in inspect(model).layers:
        claims: list[tuple[bool, Operation]] = [
            (layer.insertable, InsertLayer(layer.name)),
            (layer.removable, RemoveLayer(layer.name)),
            (layer.factorizable, Factorize(layer.name, 1)),
        ]
        for possible, operation in claims:
            if possible:
                operate(model, operation)
            else:
                with pytest.raises(Refused) as refusal:
                    operate(model, operation)
                assert f"{operation.kind}: {refusal.value}" in layer.reason


def test_a_model_that_cannot_be_run_is_inspected_all_the_same() -> None:
    found = inspect(from_proto(build("custom_domain")))
    assert any(layer.insertable for layer in found.layers)
    assert any("Mystery" in width.reason for width in found.widths)


def test_recommend_and_apply_have_the_keys_that_stay() -> None:
    model = network()
    calibration = Calibration(model)
    found = recommend(diagnose(Structure(model), calibration), calibration, accuracy=0.5)
    rows = recommend_json(found)["recommendations"]
    assert {"operation", "site", "size", "expected_gain", "parameters", "macs", "evidence"} <= set(rows[0])
    assert rows[0]["operation"] == str(found[0].operation)
    done = operate(model, parse("widen:fc1=9"))
    applied = json.loads(json.dumps(apply_json([done.record], costs(model), costs(done.model)), allow_nan=False))
    assert set(applied["operations"][0]) == {
        "operation",
        "site",
        "exact",
        "predicted_error",
        "site_error",
        "measured_error",
        "reason",
    }
    assert applied["before"] == {"parameters": 51, "macs": 42}
    assert applied["after"] == {"parameters": 75, "macs": 63}


def test_evolve_has_the_keys_that_stay(tmp_path: Path) -> None:
    result = read(write_run(tmp_path / "run"))
    assert result is not None
    found = json.loads(json.dumps(evolve_json(result), allow_nan=False))
    assert {"start", "result", "genome", "steps", "seconds", "run", "output"} <= set(found)
    assert found["genome"] == ["widen:fc1=8", "insert:fc1"]
    assert found["steps"] == {"trunk": 100, "all_branches": 185}
    assert found["run"] == str(tmp_path / "run")


def test_numbers_that_json_does_not_know_become_null() -> None:
    assert document({"a": float("inf"), "b": np.float32(0.5), "c": (1, float("nan"))}) == {
        "a": None,
        "b": 0.5,
        "c": [1, None],
    }


def test_an_exact_operation_compares_as_one() -> None:
    model = network()
    found = compare(model, operate(model, parse("widen:fc1=9")).model)
    assert found.max_error <= 1e-5
    assert (found.a.accuracy, found.a.parameters, found.b.parameters) == (None, 51, 75)
    assert set(found.to_json()) == {"max_error", "a", "b", "speed", "load", "metric", "difference"}
    assert set(found.to_json()["a"]) == {"accuracy", "parameters", "macs", "latency_ms"}
    assert set(found.to_json()["a"]["latency_ms"]) == {"median", "low", "high"}
    assert set(found.to_json()["speed"]) == {"median", "low", "high", "verdict"}


def test_the_error_is_relative_to_the_largest_output_of_the_first() -> None:
    model = network()
    louder = model.with_tensors(
        {name: 3 * model.tensor(name) for name in ("fc2.weight", "fc2.bias")},
    )
    assert compare(model, louder).max_error == pytest.approx(2.0, rel=1e-5)
    assert compare(louder, model).max_error == pytest.approx(2 / 3, rel=1e-5)


def test_accuracy_is_that_of_the_test_split() -> None:
    model, data = network(), _data()
    x = data.normalized(data.test.x)
    hidden = np.maximum(x @ model.tensor("fc1.weight").T + model.tensor("fc1.bias"), 0)
    logits = hidden @ model.tensor("fc2.weight").T + model.tensor("fc2.bias")
    expected = float((logits.argmax(axis=1) == data.test.y).mean())
    assert compare(model, model, data).a.accuracy == pytest.approx(expected)


def test_models_of_different_input_are_not_compared() -> None:
    other: Model = from_proto(build("cnn.legacy"))
    with pytest.raises(DataError, match="different input"):
        compare(network(), other)


def _data() -> Dataset:
    rng = np.random.default_rng(5)

    def split(n: int) -> Split:
        return Split(rng.standard_normal((n, 4)).astype(np.float32), rng.integers(0, 3, n))

    return Dataset.build("toy", train=split(60), validation=split(20), test=split(40), classes=("a", "b", "c"))
