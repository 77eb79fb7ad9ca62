"""Carrying out operations: what is verified, what is recorded, and what happens to moments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import models
import numpy as np
import pytest
from checks import assert_valid, loaded, structure

from pysurgeon.errors import ModelError, Refused, VerificationError
from pysurgeon.model import Model, from_proto
from pysurgeon.surgery import (
    Calibration,
    Factorize,
    InsertLayer,
    Narrow,
    Operation,
    Plan,
    RemoveLayer,
    Widen,
    apply_edit,
    carry,
    operate,
)
from pysurgeon.surgery.edits.edit import AxisMap, Edit
from pysurgeon.widths.axis_layout import Select, map_axis
from pysurgeon.widths.structure import Structure


@dataclass(frozen=True)
class Spoiled(Operation):
    """A widening in which one thing was done wrong."""

    kind: ClassVar[str] = "spoiled"
    exact: ClassVar[bool] = True

    inner: Widen
    spoil: Callable[[Edit], Edit]

    @property
    def site(self) -> str:
        return self.inner.site

    def __str__(self) -> str:
        return f"spoiled:{self.inner}"

    def plan(self, structure: Structure, calibration: Calibration) -> Plan:
        plan = self.inner.plan(structure, calibration)
        # The mistakes are made in the maps, and final values would hide them.
        return replace(plan, edit=self.spoil(replace(plan.edit, values={})))


def remap(edit: Edit, tensor: str, change: Callable[[Select], Select]) -> Edit:
    hit = [m.tensor == tensor and isinstance(m.map, Select) for m in edit.maps]
    assert any(hit)
    maps = tuple(replace(m, map=change(m.map)) if h else m for h, m in zip(hit, edit.maps, strict=True))
    return replace(edit, maps=maps)


def without(edit: Edit, tensor: str) -> Edit:
    maps = tuple(m for m in edit.maps if m.tensor != tensor)
    assert len(maps) < len(edit.maps)
    return replace(edit, maps=maps)


def reversed_index(m: Select) -> Select:
    return Select(m.index[::-1].copy(), m.scale[::-1].copy())


def unshared(m: Select) -> Select:
    return Select(m.index, np.ones_like(m.scale))


def shifted(m: Select) -> Select:
    return Select(np.roll(m.index, 1), m.scale)


def without_the_last(m: Select) -> Select:
    return Select(m.index, np.where(np.arange(m.size) == m.size - 1, 0, m.scale).astype(np.float32))


MISTAKES: dict[str, tuple[str, str, Callable[[Edit], Edit]]] = {
    "units of a reader in another order": ("cnn_bn.training", "0", lambda e: remap(e, "3.weight", reversed_index)),
    "units of a flattened reader shifted": ("flatten_nhwc.legacy", "conv", lambda e: remap(e, "fc1.weight", shifted)),
    "shares of copies forgotten": ("mlp_relu.legacy", "1", lambda e: remap(e, "3.weight", unshared)),
    "one copy not read": ("mlp_tanh.legacy", "1", lambda e: remap(e, "3.weight", without_the_last)),
    "units of a bias in another order": ("mlp_relu.legacy", "1", lambda e: remap(e, "1.bias", reversed_index)),
    "units of a statistic shifted": ("cnn_bn.training", "3", lambda e: remap(e, "4.running_mean", shifted)),
    "one of two readers in another order": (
        "residual.legacy",
        "0",
        lambda e: remap(e, "3.short.weight", reversed_index),
    ),
    "depthwise filters shifted": ("mobile.training", "expand", lambda e: remap(e, "depth.weight", shifted)),
    "one bias forgotten": ("mlp_relu.legacy", "1", lambda e: without(e, "1.bias")),
    "one statistic forgotten": ("cnn_bn.training", "3", lambda e: without(e, "4.running_var")),
    "one reader forgotten": ("residual.training", "0", lambda e: without(e, "2.conv1.weight")),
    "filters forgotten": ("cnn.legacy", "2", lambda e: without(e, "2.weight")),
    "one part of a concatenation forgotten": ("dense_net.legacy", "a", lambda e: without(e, "fc.weight")),
}


def spoiled(name: str, width: str, spoil: Callable[[Edit], Edit]) -> Operation:
    how = "split"
    return Spoiled(Widen(width, 2 * structure(name).width(width).size + 1, how=how, seed=3), spoil)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_planted_mistakes_are_seen(mistake):
    """A wrong order runs and is refused by the check; a wrong size does not even run."""
    name, width, spoil = MISTAKES[mistake]
    operate(loaded(name), spoiled(name, width, lambda e: e))
    with pytest.raises((VerificationError, ModelError)):
        operate(loaded(name), spoiled(name, width, spoil))


def test_the_message_of_a_failed_check():
    name, width, spoil = MISTAKES["shares of copies forgotten"]
    with pytest.raises(VerificationError, match=r"was to keep the function but changed the outputs by .* is discarded"):
        operate(loaded(name), spoiled(name, width, spoil))


def chaotic(scale: float) -> Model:
    """Sines of sines: every layer makes more of a difference."""
    rng = np.random.default_rng(0)
    names = "abcdef"
    body = " ".join(f"{n}0 = MatMul ({p}, w{n}) {n} = Sin ({n}0)" for p, n in zip("x" + names, names, strict=False))
    text = f'<ir_version: 8, opset_import: ["" : 17]> g (float[N, 12] x) => (float[N, 12] f) {{ {body} }}'
    model = from_proto(models.parsed(text, **{f"w{n}": (12, 12) for n in names}))
    return model.with_tensors({f"w{n}": (scale * rng.standard_normal((12, 12))).astype(np.float32) for n in names})


def test_a_model_that_makes_much_of_rounding_is_granted_as_much():
    model, calibration = chaotic(1.0), Calibration(chaotic(1.0))
    rounding = calibration.rounding(model, ["f"])
    width = next(w for w in Structure(model).widths if w.resizable)
    record = operate(model, Widen(width.name, 25, how="split", seed=1), calibration).record
    assert 1e-5 < record.measured_error <= rounding < 1e-3
    wrong = Spoiled(Widen(width.name, 25, how="split", seed=1), lambda e: without(e, width.readers[0][0]))
    with pytest.raises((VerificationError, ModelError)):
        operate(model, wrong, calibration)


def test_no_model_is_granted_more_than_a_thousandth():
    model = chaotic(4.0)
    assert Calibration(model).rounding(model, ["f"]) > 1e-3
    width = next(w for w in Structure(model).widths if w.resizable)
    with pytest.raises(VerificationError, match=r"at most 1e-03 was expected"):
        operate(model, Widen(width.name, 25, how="split", seed=1))


def test_outputs_that_are_no_numbers_are_refused():
    model = loaded("positive")
    with pytest.raises(Refused, match="infinite or not a number"):
        operate(model, RemoveLayer("a"))


def test_the_record():
    model = loaded("cnn.legacy")
    record = operate(model, Widen("0", 9, how="fresh")).record
    assert (record.operation, record.site, record.exact) == ("widen:0=9", "0", True)
    assert record.measured_error <= 1e-5
    assert record.reason == "3 new units, random and read with zero, keep the function"
    assert operate(model, Widen("0", 7, how="fresh")).record.reason.startswith("1 new unit, ")
    assert [operate(model, Narrow("0", size)).record.reason.split(" that")[0] for size in (5, 4)] == [
        "the unit",
        "the 2 units",
    ]


def test_the_calibration_is_that_of_the_user():
    model = loaded("mlp_relu.legacy")
    zero = {"input": np.zeros((4, 3, 4), np.float32)}
    done = operate(model, Narrow("1", 1), Calibration(model, zero))
    assert done.record.measured_error <= 1e-5  # on these samples everything is constant
    assert operate(model, Narrow("1", 1)).record.measured_error > 1e-3


def test_a_calibration_forgets_models_that_are_gone():
    model = loaded("mlp_relu.legacy")
    calibration = Calibration(model)
    for size in range(10, 14):
        operate(model, Widen("1", size), calibration)
    import gc

    gc.collect()
    assert len(calibration._checked) == 1


def test_an_edit_with_the_dims_of_another_structure_is_no_edit():
    model = loaded("mlp_relu.legacy")
    mine, other = Structure(model), Structure(model)
    width = other.width("1")
    maps = tuple(AxisMap(t, a, width.dim, Select.of(np.arange(3))) for t, a in (*width.writers, *width.readers))
    Edit(other, maps)
    with pytest.raises(ValueError, match="with the structure that it is for"):
        Edit(mine, maps)


def test_large_samples_are_drawn_alike():
    model = loaded("mlp_relu.legacy")
    rows = np.random.default_rng(0).standard_normal((30_000, 2)).astype(np.float32)
    a, b = (Calibration(model, seed=1).sample(rows) for _ in range(2))
    assert a.shape == (20_000, 2)
    assert a.dtype == np.float64
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, Calibration(model, seed=2).sample(rows))
    np.testing.assert_array_equal(a, Calibration(model, seed=1).sample(np.column_stack([rows, rows]))[:, :2])


# --- all models, all operations: whose bytes change, and where moments go -----------------------------------------------------


def every_operation(s: Structure) -> list[Operation]:
    operations: list[Operation] = []
    for width in s.widths:
        operations += [Widen(width.name, width.size + 2), Widen(width.name, width.size + 2, how="split")]
        operations += [Narrow(width.name, max(1, width.size - 1))]
    for layer in s.layers:
        operations += [InsertLayer(layer.name), RemoveLayer(layer.name), Factorize(layer.name, 1)]
    return operations


@pytest.mark.parametrize("name", [*models.RUNNABLE, "cnn_bn.training", "mobile.training", "attention.training"])
def test_moments_follow_their_tensors(name):
    model, s = loaded(name), structure(name)
    before = model.to_bytes()
    rng = np.random.default_rng(0)
    calibration = Calibration(model)
    shapes = {t: model.tensor(t).shape for t in model.trainable() if model.tensor(t).dtype == np.float32}
    moments = {
        "m": {t: rng.standard_normal(x).astype(np.float32) for t, x in shapes.items()},
        "v": {t: rng.random(x).astype(np.float32) for t, x in shapes.items()},
    }
    original = {kind: {t: a.copy() for t, a in arrays.items()} for kind, arrays in moments.items()}
    for operation in every_operation(s):
        try:
            edit = operation.plan(s, calibration).edit
        except Refused:
            continue
        new = apply_edit(edit)
        carried = carry(edit, moments)
        for tensor in new.trainable():
            for kind in ("m", "v"):
                if tensor in shapes:
                    assert carried[kind][tensor].shape == new.tensor(tensor).shape, (str(operation), tensor)
                    assert carried[kind][tensor].dtype == np.float32
                else:
                    assert tensor not in carried[kind]
        assert all(np.all(a >= 0) for a in carried["v"].values())
        assert all(np.all(np.isfinite(a)) for a in carried["m"].values())
    for kind, arrays in moments.items():
        for tensor, array in arrays.items():
            np.testing.assert_array_equal(array, original[kind][tensor])
    assert model.to_bytes() == before


@pytest.mark.parametrize(
    "operation",
    [Widen("0", 9), Narrow("2", 3), InsertLayer("0"), RemoveLayer("6"), Factorize("8", 1), Factorize("2", 2)],
    ids=str,
)
def test_what_the_file_says_survives(operation):
    proto = models.build("cnn.legacy")
    proto.doc_string, proto.graph.doc_string, proto.producer_name = "a doc", "graph doc", "somebody"
    proto.graph.node[0].doc_string = "the first convolution"
    entry = proto.metadata_props.add()
    entry.key, entry.value = "labels", "cat,dog"
    proto.graph.output[0].doc_string = "one for each class"
    entry = proto.graph.output[0].metadata_props.add()
    entry.key, entry.value = "unit", "logit"
    model = from_proto(proto)
    done = operate(model, operation)
    assert_valid(done.model, like=model)
    after = done.model.to_proto()
    assert (after.doc_string, after.graph.doc_string, after.producer_name) == ("a doc", "graph doc", "somebody")
    assert [(p.key, p.value) for p in after.metadata_props] == [("labels", "cat,dog")]
    assert after.graph.output[0].type.tensor_type.shape.dim[0].dim_param == "N"
    assert any(n.doc_string == "the first convolution" for n in after.graph.node)
    kept = {n.name for n in proto.graph.node} & {n.name for n in after.graph.node}
    assert len(kept) >= len(proto.graph.node) - 2


def test_moments_of_copies_are_copies():
    model, s = loaded("mlp_relu.legacy"), structure("mlp_relu.legacy")
    edit = Widen("1", 12, how="split", seed=1).plan(s, Calibration(model)).edit
    m = {
        t: np.random.default_rng(0).standard_normal(model.tensor(t).shape).astype(np.float32) for t in model.trainable()
    }
    carried = carry(edit, {"m": m})["m"]
    weight, old = apply_edit(edit).tensor("1.weight"), model.tensor("1.weight")
    source = [int(np.flatnonzero((old == row).all(1))[0]) for row in weight]
    np.testing.assert_array_equal(carried["1.weight"], m["1.weight"][source])
    np.testing.assert_array_equal(carried["1.bias"], m["1.bias"][source])
    np.testing.assert_array_equal(carried["5.weight"], m["5.weight"])
    shares = next(m.map.scale for m in edit.maps if m.tensor == "3.weight")
    np.testing.assert_allclose(carried["3.weight"], m["3.weight"][:, source] * shares, rtol=1e-4)


def test_moments_of_units_that_are_kept_stay():
    model, s = loaded("mlp_relu.legacy"), structure("mlp_relu.legacy")
    edit = Narrow("1", 6).plan(s, Calibration(model)).edit
    m = {
        t: np.random.default_rng(0).standard_normal(model.tensor(t).shape).astype(np.float32) for t in model.trainable()
    }
    carried = carry(edit, {"m": m})["m"]
    weight, old = apply_edit(edit).tensor("1.weight"), model.tensor("1.weight")
    kept = [int(np.flatnonzero((old == row).all(1))[0]) for row in weight]
    np.testing.assert_array_equal(carried["1.weight"], m["1.weight"][kept])
    np.testing.assert_array_equal(carried["1.bias"], m["1.bias"][kept])
    assert carried["3.bias"].shape == (7,)


# --- the maps themselves ------------------------------------------------------------------------------------------------------


def test_a_dim_behind_a_sum_in_a_product_is_mapped():
    """(2 + 1) * d: two token streams joined, then flattened."""
    s = structure("tokens.legacy")
    term = s.term("head.weight", 1)
    dim = s.width("a").dim
    array = np.arange(36, dtype=np.float32).reshape(1, 36)
    mapped = map_axis(array, 1, term, dim, Select.of(np.array([5, 0])))
    np.testing.assert_array_equal(mapped, array.reshape(6, 6)[:, [5, 0]].reshape(1, 12))


def test_a_map_touches_nothing_but_its_axis():
    model, s = loaded("mlp_relu.legacy"), structure("mlp_relu.legacy")
    dim = s.width("1").dim
    edit = Edit(s, (AxisMap("1.weight", 0, dim, Select.of(np.arange(9)[::-1])),))
    new: Model = apply_edit(edit)
    np.testing.assert_array_equal(new.tensor("1.weight"), model.tensor("1.weight")[::-1])
    for tensor in set(model.tensors()) - {"1.weight"}:
        np.testing.assert_array_equal(new.tensor(tensor), model.tensor(tensor))
    assert_valid(new, like=model)
