"""Diagnosis and recommendations on small networks for the digits."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kinds import KINDS
from kinds import network as network_of
from onnx import numpy_helper
from starts import cnn, digits, mlp, model

from pysurgeon.diagnosis import Diagnosis, LayerDiagnosis, Recommendation, diagnose, recommend
from pysurgeon.errors import ModelError
from pysurgeon.evolution import calibrated
from pysurgeon.graph import Array
from pysurgeon.model import Model
from pysurgeon.model.costs import costs
from pysurgeon.surgery import Calibration, Factorize, Narrow, RemoveLayer, Widen, operate
from pysurgeon.surgery import calibration as calibration_module
from pysurgeon.surgery.layers.weight_matrices import form_of
from pysurgeon.surgery.operations.narrow import LARGEST_ERROR
from pysurgeon.widths.structure import Structure


def on_digits(network: Model) -> Calibration:
    return calibrated(network, digits())


def looked_at(proto: onnx.ModelProto) -> tuple[Diagnosis, Calibration]:
    network = model(proto)
    calibration = on_digits(network)
    return diagnose(Structure(network), calibration), calibration


def changed(proto: onnx.ModelProto, **tensors: Array) -> onnx.ModelProto:
    for tensor in proto.graph.initializer:
        key = tensor.name.replace(".", "_")
        if key in tensors:
            tensor.CopyFrom(numpy_helper.from_array(tensors[key].astype(np.float32), tensor.name))
    return proto


def values(proto: onnx.ModelProto, name: str) -> Array:
    return next(np.array(numpy_helper.to_array(t)) for t in proto.graph.initializer if t.name == name)


def with_dead_units(units: list[int]) -> onnx.ModelProto:
    proto = mlp((12,))
    bias = values(proto, "fc1.bias")
    bias[units] = -1e3
    return changed(proto, fc1_bias=bias)


def with_linear_layer() -> onnx.ModelProto:
    """What comes out of the first layer is not negative, so that a second one without negative weights is linear."""
    proto = mlp((12, 12))
    weight = np.abs(values(proto, "fc2.weight"))
    return changed(proto, fc2_weight=weight, fc2_bias=np.zeros(12))


@functools.cache
def ranking(name: str, objective: str = "accuracy", accuracy: float = 0.5) -> tuple[Recommendation, ...]:
    diagnosis, calibration = looked_at({"mlp": lambda: mlp((12, 9)), "cnn": cnn}[name]())
    return tuple(recommend(diagnosis, calibration, accuracy=accuracy, objective=objective))  # type: ignore[arg-type]


# --- diagnosis ----------------------------------------------------------------------------------------------------------


def test_every_width_and_layer_is_looked_at() -> None:
    diagnosis, _ = looked_at(cnn())
    assert [w.width.name for w in diagnosis.widths] == ["conv1", "conv2"]
    assert [x.layer.name for x in diagnosis.layers] == ["conv1", "conv2", "head"]
    assert [x.shape for x in diagnosis.layers] == [(3, 9), (6, 27), (10, 24)]
    for found in diagnosis.layers:
        matrix = diagnosis.structure.model.tensor(found.layer.weight).reshape(found.shape)
        expected = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
        np.testing.assert_allclose(found.singular_values, expected, rtol=1e-4, atol=1e-5)


def test_dead_units_are_counted() -> None:
    diagnosis, _ = looked_at(with_dead_units([3, 7]))
    (width,) = diagnosis.widths
    assert width.dead == 2
    assert width.activation_rank <= 10
    assert width.removable(0.01) >= 2
    assert {3, 7} == set(width.elimination.order[:2].tolist())


def test_a_layer_of_which_every_unit_is_dead_gives_finite_figures() -> None:
    diagnosis, calibration = looked_at(with_dead_units(list(range(12))))
    (width,) = diagnosis.widths
    assert width.dead == 12
    assert width.activation_rank == 0
    for found in recommend(diagnosis, calibration, accuracy=0.1):
        figures = (found.score, found.expected_gain, *found.evidence.values())
        assert np.isfinite(figures).all()
        assert np.abs(found.expected_gain) <= 1


def test_a_layer_of_low_rank_is_seen_as_such() -> None:
    rng = np.random.default_rng(0)
    proto = mlp((40,))
    weight = rng.standard_normal((40, 3)) @ rng.standard_normal((3, 64))
    diagnosis, _ = looked_at(changed(proto, fc1_weight=weight))
    found = diagnosis.layers[0]
    assert found.weight_rank == 3
    assert found.rank_for(0.001) == 3
    assert found.error(3) < 1e-4


def test_a_linear_layer_is_seen_as_such() -> None:
    diagnosis, _ = looked_at(with_linear_layer())
    linearity = [x.linearity for x in diagnosis.layers]
    assert linearity[1] is not None
    assert linearity[1] > 0.999
    assert linearity[2] is None  # the last layer cannot be removed


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["fc1.weight", "fc1.bias", "fc2.weight"])
def test_numbers_that_are_not_finite_are_refused(bad: float, name: str) -> None:
    proto = mlp((5,))
    tensor = values(proto, name)
    tensor.flat[1] = bad
    if name == "fc1.bias" and bad < 0:
        pytest.skip("minus infinity before a ReLU is a dead unit")
    with pytest.raises(ModelError, match="finite"):
        looked_at(changed(proto, **{name.replace(".", "_"): tensor}))


def test_the_model_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network = model(cnn())
    calibration = on_digits(network)
    seen: list[Model] = []
    run = calibration_module._run

    def counted(model: Model, names: list[str], feeds: Mapping[str, Array], **options: bool) -> dict[str, Array]:
        seen.append(model)
        return run(model, names, feeds, **options)

    monkeypatch.setattr(calibration_module, "_run", counted)
    diagnose(Structure(network), calibration)
    assert sum(m is network for m in seen) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_layers_that_are_no_plain_matrix_are_looked_at(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_of(kind)
    structure, calibration = Structure(network), Calibration(network)
    runs: list[Model] = []
    run = calibration_module._run
    monkeypatch.setattr(
        calibration_module, "_run", lambda m, *rest, **options: runs.append(m) or run(m, *rest, **options)
    )
    diagnosis = diagnose(structure, calibration)
    assert sum(m is network for m in runs) == 1
    assert [x.layer.name for x in diagnosis.layers] == [x.name for x in structure.layers]
    for found in diagnosis.layers:
        form = form_of(structure, found.layer)
        assert found.shape == (form.rows, form.columns)
        np.testing.assert_allclose(
            np.square(found.singular_values).sum() * form.count,
            np.square(network.tensor(found.layer.weight)).sum(),
            rtol=1e-4,
        )
        if found.largest_rank:
            plan = Factorize(found.layer.name, found.largest_rank).plan(structure, calibration)
            assert plan.predicted_error == pytest.approx(found.error(found.largest_rank), abs=1e-6)
    proposed = {
        r.operation.site for r in recommend(diagnosis, calibration, accuracy=0.5) if r.operation.kind == "factorize"
    }
    assert proposed == {x.layer.name for x in diagnosis.layers if 1 <= x.rank_for(LARGEST_ERROR) <= x.largest_rank}


def test_a_table_of_low_rank_is_recommended_to_be_factorized() -> None:
    network = network_of("embedding")
    rng = np.random.default_rng(0)
    table = rng.standard_normal((20, 2)) @ rng.standard_normal((2, 7))
    network = network.with_tensors({"t": table.astype(np.float32)})
    calibration = Calibration(network, {"x": rng.integers(0, 20, (100, 4))})
    ranked = recommend(diagnose(Structure(network), calibration), calibration, accuracy=0.5, objective="size")
    (first, *_) = [r for r in ranked if r.operation.site == "table"]
    assert str(first.operation) == "factorize:table=2"
    assert first.evidence["weight_rank"] == 2
    assert first.parameters == 2 * (20 + 7) - 20 * 7


def test_threads_do_not_change_the_diagnosis() -> None:
    network = model(cnn())
    calibration = on_digits(network)
    one, two = (diagnose(Structure(network), calibration, threads=t) for t in (1, 2))
    for a, b in zip(one.layers, two.layers, strict=True):
        np.testing.assert_array_equal(a.singular_values, b.singular_values)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=20), st.floats(0, 1))
def test_rank_for_an_error_is_the_smallest_that_keeps_it(energies: list[float], error: float) -> None:
    layer = LayerDiagnosis(
        layer=None,  # type: ignore[arg-type]
        shape=(len(energies), 30),
        singular_values=np.zeros(len(energies), np.float32),
        weight_rank=0,
        effective_rank=0.0,
        stable_rank=0.0,
        largest_rank=1,
        output_energy=np.sort(np.array(energies))[::-1],
        linearity=None,
    )
    rank = layer.rank_for(error)
    assert 1 <= rank <= len(energies)
    assert layer.error(rank) <= error + 1e-7
    if rank > 1:
        assert layer.error(rank - 1) > error - 1e-7


# --- recommendations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_ranking_is_by_score_and_the_same_every_time(name: str) -> None:
    found = ranking(name)
    scores = [r.score for r in found]
    assert scores == sorted(scores, reverse=True)
    ranking.cache_clear()
    assert [(str(r.operation), r.score, r.evidence) for r in ranking(name)] == [
        (str(r.operation), r.score, r.evidence) for r in found
    ]


@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_no_operation_is_proposed_twice(name: str) -> None:
    written = [str(r.operation) for r in ranking(name)]
    assert len(set(written)) == len(written)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize("objective", ["accuracy", "size", "latency"])
def test_costs_are_those_of_the_operated_model(name: str, objective: str) -> None:
    network = model(mlp((12, 9)) if name == "mlp" else cnn())
    calibration, before = on_digits(network), costs(network)
    found = ranking(name, objective)
    assert found
    for r in found:
        after = costs(operate(network, r.operation, calibration).model)
        assert (r.parameters, r.macs) == (after.parameters - before.parameters, after.macs - before.macs)


@pytest.mark.parametrize("name", ["mlp", "cnn"])
@pytest.mark.parametrize("objective", ["size", "latency"])
def test_what_is_to_be_smaller_is_only_made_smaller(name: str, objective: str) -> None:
    found = ranking(name, objective)
    assert found
    assert all((r.parameters, r.macs) < (0, 0) for r in found)
    assert not any(isinstance(r.operation, Widen) for r in found)


def test_predicted_error_of_narrowing_is_what_the_readers_lose() -> None:
    network = model(mlp((12,)))
    calibration = on_digits(network)
    # The last layer is the only reader, so what it loses is measured on the outputs less its bias.
    outputs = calibration.holdout(network, ["y"])["y"] - network.tensor("fc2.bias")
    found = recommend(diagnose(Structure(network), calibration), calibration, accuracy=0.5)
    narrowings = [r for r in found if isinstance(r.operation, Narrow)]
    assert narrowings
    for r in narrowings:
        done = operate(network, r.operation, calibration)
        # The bias takes up a constant, and so it is a part of what is compared.
        after = calibration.holdout(done.model, ["y"])["y"] - network.tensor("fc2.bias")
        error = np.sqrt(np.square(after - outputs).sum() / np.square(outputs).sum())
        assert done.record.site_error == pytest.approx(error, rel=1e-5)
        assert done.record.predicted_error == pytest.approx(error, rel=0.3, abs=0.002)
        # The cost curve is that of the samples it was worked out on.
        assert 0.65 * error - 0.002 <= r.evidence["predicted_error"] <= 1.05 * error + 0.002


def test_predicted_error_of_factors_is_that_of_the_output() -> None:
    network = model(mlp((40,)))
    calibration = on_digits(network)
    found = recommend(diagnose(Structure(network), calibration), calibration, accuracy=0.5)
    factorizations = [r for r in found if isinstance(r.operation, Factorize) and r.operation.layer == "fc1"]
    assert factorizations
    before = calibration.holdout(network, ["a1"])["a1"] - network.tensor("fc1.bias")
    for r in factorizations:
        done = operate(network, r.operation, calibration)
        smaller = done.model
        relu = next(node for node in smaller.nodes if node.op_type == "Relu")
        name = str(relu.inputs[0].name)
        after = calibration.holdout(smaller, [name])[name] - network.tensor("fc1.bias")
        error = np.sqrt(np.square(after - before).sum() / np.square(before).sum())
        assert done.record.site_error == pytest.approx(error, rel=1e-4)
        assert r.evidence["predicted_error"] == pytest.approx(error, rel=0.15)


def test_dead_units_are_recommended_to_go() -> None:
    diagnosis, calibration = looked_at(with_dead_units([2, 5, 11]))
    for objective in ("accuracy", "size"):
        first = recommend(diagnosis, calibration, accuracy=0.9, objective=objective)[0]  # type: ignore[arg-type]
        assert isinstance(first.operation, Narrow)
        assert first.operation.size <= 9
        assert first.score > 0
        assert first.expected_gain == pytest.approx(0, abs=1e-2)


def test_a_bottleneck_is_recommended_to_be_widened() -> None:
    diagnosis, calibration = looked_at(mlp((16, 2, 16)))
    found = recommend(diagnosis, calibration, accuracy=0.3)
    first = found[0]
    assert isinstance(first.operation, Widen)
    assert first.operation.width == "fc2"
    assert first.score > 0


def test_where_nothing_is_left_to_gain_growth_does_not_pay() -> None:
    growing = [r for r in ranking("mlp", accuracy=1.0) if r.parameters > 0]
    assert growing
    assert all(r.score < 0 for r in growing)


def test_a_higher_price_never_ranks_a_larger_network_higher() -> None:
    diagnosis, calibration = looked_at(mlp((12,)))
    cheap, dear = (recommend(diagnosis, calibration, accuracy=0.5, price=price) for price in (0.0, 1.0))
    assert all(r.score == r.expected_gain for r in cheap)
    assert dear[0].parameters < 0
    assert all(r.score < 0 for r in dear if r.parameters > 0)


def test_a_layer_without_nonlinearity_is_recommended_to_go() -> None:
    diagnosis, calibration = looked_at(with_linear_layer())
    first = recommend(diagnosis, calibration, accuracy=0.9, objective="size")[0]
    assert first.operation == RemoveLayer("fc2")
    assert first.evidence["linearity"] > 0.999


# --- what is led round ---------------- ---------------------------------------------------------------------------------
