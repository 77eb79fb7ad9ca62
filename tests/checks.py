"""What many tests ask of a model. No tolerance has a default."""

from __future__ import annotations

import functools

import models
import numpy as np
import onnx
import onnx_ir as ir

from pysurgeon.errors import Refused
from pysurgeon.graph import Array
from pysurgeon.model import Model, from_proto
from pysurgeon.model.feeds import random_feeds
from pysurgeon.model.session import Session, output_error
from pysurgeon.surgery import Calibration, Operated, Operation, operate
from pysurgeon.widths.structure import Structure


@functools.cache
def loaded(name: str) -> Model:
    """A model of the zoo, loaded once: models are values, and `test_operate` sees that they stay so."""
    return from_proto(models.build(name), origin=name)


@functools.cache
def structure(name: str) -> Structure:
    """Its widths and layers."""
    return Structure(loaded(name))


@functools.cache
def reference(name: str, batch: int, seed: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """Random input that no calibration saw, and what the model of the zoo gives for it."""
    feeds = random_feeds(loaded(name), batch=batch, seed=seed)
    return feeds, Session(loaded(name)).run(feeds)


def assert_same_function(name: str, model: Model, *, tolerance: float) -> None:
    """A model computes what the one of the zoo does, at two batch sizes, on input that no calibration saw."""
    session = Session(model)
    for batch, seed in ((3, 1234), (1, 4321)):
        feeds, expected = reference(name, batch, seed)
        assert output_error(expected, session.run(feeds)) <= tolerance


def difference(a: Model, b: Model, *, seed: int = 99, batch: int = 16) -> float:
    """Relative difference of two models on random input."""
    feeds = random_feeds(a, batch=batch, seed=seed)
    return output_error(Session(a).run(feeds), Session(b).run(feeds))


def assert_valid(model: Model, *, like: Model) -> None:
    """The file is valid with all shapes, and the outside looks as before."""
    proto = model.to_proto()
    onnx.checker.check_model(proto, full_check=True)
    onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    before = like.to_proto()
    assert [p.SerializeToString() for p in proto.graph.input] == [p.SerializeToString() for p in before.graph.input]
    assert [p.SerializeToString() for p in proto.graph.output] == [p.SerializeToString() for p in before.graph.output]
    assert proto.opset_import == before.opset_import
    assert proto.ir_version == before.ir_version
    assert proto.metadata_props == before.metadata_props
    assert (proto.doc_string, proto.graph.doc_string, proto.producer_name) == (
        before.doc_string,
        before.graph.doc_string,
        before.producer_name,
    )


def with_tensor(model: Model, name: str, array: Array) -> Model:
    """A model with another initializer of any shape: what a wrong edit would write."""
    clone = model.ir.clone()
    value = clone.graph.initializers[name]
    value.const_value = ir.Tensor(np.asarray(array, order="C"), name=name)
    value.shape = ir.Shape(array.shape)
    return Model(clone, model.notes)


def attempt(model: Model, operation: Operation, calibration: Calibration | None = None) -> Operated | Refused:
    """Operate, or say why not."""
    try:
        return operate(model, operation, calibration)
    except Refused as refusal:
        return refusal
