"""Cuts: what they promise of sizes and costs, and how far what they predict is what happens."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pysurgeon.diagnosis.cut import TRUST, Curve, Cut, curves, cut, outlined, output_loss, uniform
from pysurgeon.errors import Refused
from pysurgeon.model import Model
from pysurgeon.model.costs import Costs, costs
from pysurgeon.surgery import Calibration, operate
from pysurgeon.widths.structure import Structure
from tests.starts import cnn, digits, mlp, model, text_model

SHAPES = {"mlp": mlp((24, 16)), "cnn": cnn(8)}


def looked_at(name: str) -> tuple[Structure, Calibration]:
    network = model(SHAPES[name])
    x = digits().normalized(digits().train.x[:400])
    return Structure(network), Calibration(network, {"x": x[:300]}, holdout={"x": x[300:]})


def parameters(size: Costs) -> float:
    return float(size.parameters)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("share", [0.9, 0.5, 0.2])
@pytest.mark.parametrize("measure", [parameters, lambda size: float(size.macs)], ids=["parameters", "macs"])
def test_a_cut_costs_what_it_may_and_no_width_falls_out_of_trust(name: str, share: float, measure: object) -> None:
    structure, calibration = looked_at(name)
    found = curves(structure, calibration)
    most = share * measure(costs(structure.model))  # type: ignore[operator]
    planned, control = (f(structure, found, measure, most) for f in (cut, uniform))  # type: ignore[operator]
    for plan in (planned, control):
        after = carried_out(plan, structure, calibration)
        assert costs(after) == plan.costs
        assert measure(plan.costs) <= most  # type: ignore[operator]
        assert {w.name: w.size for w in Structure(after).widths if w.name in plan.sizes} == plan.sizes
    for width, size in planned.sizes.items():
        even = control.sizes.get(width, structure.width(width).size)
        assert size >= (even - 1) / TRUST, "half of the uniform cut, but for rounding"
    # A Lagrangian need not meet the mark, but it is never worse than the uniform cut by its own curves and the same price.
    assert planned.error <= control.error + 1e-9 or measure(planned.costs) < measure(control.costs)  # type: ignore[operator]


def carried_out(plan: Cut, structure: Structure, calibration: Calibration) -> Model:
    network = structure.model
    for operation in plan.operations(structure):
        network = operate(network, operation, calibration).model
    return network


def test_idle_units_go_first_and_for_nothing() -> None:
    network = model(mlp((24, 16)))
    weight = np.array(network.tensor("fc2.weight"))
    weight[:, 5:15] = 0  # nobody reads them
    structure, calibration = looked_at("mlp")
    idle = with_tensor(network, "fc2.weight", weight)
    calibration = Calibration(idle, calibration.feeds, holdout=calibration.holdout_feeds)
    structure = Structure(idle)
    found = curves(structure, calibration)
    most = costs(outlined(structure, {"fc1": 14})).parameters
    planned = cut(structure, found, parameters, most)
    assert planned.sizes["fc1"] <= 14
    assert planned.error < 0.3
    assert (
        output_loss(idle, carried_out(cut(structure, found, parameters, most + 1), structure, calibration), calibration)
        < 0.3
    )


def faint_branch(share: float) -> Model:
    """Two branches of the same kind, the outputs of which are added; the second one is hardly heard."""
    rng = np.random.default_rng(3)
    lines, tensors = ["h = Flatten <axis = 1> (x)"], {}
    for name, factor in (("loud", 1.0), ("faint", share)):
        lines += [f"{name}_a = Gemm <transB = 1> (h, {name}.weight, {name}.bias)", f"{name}_b = Relu ({name}_a)"]
        lines += [f"{name}_y = Gemm <transB = 1> ({name}_b, {name}_out.weight, {name}_out.bias)"]
        tensors |= {f"{name}.weight": rng.standard_normal((16, 64)) / 6, f"{name}.bias": rng.standard_normal(16)}
        tensors |= {f"{name}_out.weight": factor * rng.standard_normal((10, 16)), f"{name}_out.bias": np.zeros(10)}
    lines.append("y = Add (loud_y, faint_y)")
    return model(text_model("branches (float[N, 1, 8, 8] x) => (float[N, 10] y)", lines, tensors))


def test_a_width_whose_error_does_not_arrive_at_the_outputs_goes_first() -> None:
    _, calibration = looked_at("mlp")
    network = faint_branch(1e-3)
    structure = Structure(network)
    calibration = Calibration(network, calibration.feeds, holdout=calibration.holdout_feeds)
    found = curves(structure, calibration)
    assert {c.width.name for c in found} == {"loud", "faint"}
    half = 0.5 * costs(network).parameters
    planned = cut(structure, found, parameters, half, trust=1e9)
    # What reads either branch loses about as much: only what arrives tells them apart.
    assert set(planned.sizes) == {"faint"} or planned.sizes["faint"] == 1
    measured = output_loss(network, carried_out(planned, structure, calibration), calibration)
    assert measured < 0.1, "nearly nothing of what was cut was heard"


@pytest.mark.parametrize("multiple", [4, 8])
def test_widths_that_are_cut_have_whole_multiples(multiple: int) -> None:
    structure, calibration = looked_at("mlp")
    found = curves(structure, calibration)
    most = 0.5 * costs(structure.model).parameters
    for plan in (f(structure, found, parameters, most, multiple=multiple) for f in (cut, uniform)):
        assert plan.sizes
        assert all(size % multiple == 0 for size in plan.sizes.values())
        assert plan.costs.parameters <= most


def with_tensor(network: Model, name: str, array: np.ndarray) -> Model:
    from pysurgeon.model import from_proto

    proto = network.to_proto()
    for tensor in proto.graph.initializer:
        if tensor.name == name:
            tensor.raw_data = np.ascontiguousarray(array, np.float32).tobytes()
    return from_proto(proto)


def test_what_must_stay_has_no_curve() -> None:
    structure, calibration = looked_at("cnn")
    names = {c.width.name for c in curves(structure, calibration, kept=lambda w: w.name == "conv1")}
    assert names == {c.width.name for c in curves(structure, calibration)} - {"conv1"}


def test_more_than_all_cannot_go() -> None:
    structure, calibration = looked_at("mlp")
    with pytest.raises(Refused, match=r"with one unit in every width .* still has .* more than is allowed"):
        cut(structure, curves(structure, calibration), parameters, 10.0)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**31))
def test_at_a_price_no_unit_stays_that_is_worth_less_than_one_that_goes(seed: int) -> None:
    structure, calibration = looked_at("mlp")
    rng = np.random.default_rng(seed)
    found = [
        Curve(c.width, np.append(np.sort(rng.exponential(size=c.width.size - 1))[::-1], 0.0))
        for c in curves(structure, calibration)
    ]
    # Convex: each further unit costs more than the one before.
    found = [Curve(c.width, np.cumsum(np.sort(np.abs(np.diff(c.error, prepend=c.error[0]))))[::-1]) for c in found]
    most = 0.5 * costs(structure.model).parameters
    planned = cut(structure, found, parameters, most, trust=1e9)
    other = uniform(structure, found, parameters, float(planned.costs.parameters))
    lost = {c.width.name: c.error for c in found}

    def total(sizes: dict[str, int]) -> float:
        return sum(float(e[sizes.get(name, len(e)) - 1]) for name, e in lost.items())

    assert total(dict(planned.sizes)) <= total(dict(other.sizes)) * 1.1 + 1e-9
