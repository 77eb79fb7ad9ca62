"""What torch's exporters write of networks with open sizes: a U-Net, a pyramid, a recognizer of text, an encoder of sound, anchors."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings

import numpy as np
import onnx
import pytest
from open_sizes import assert_sizes, run

from benchmarks.corpus.open_sizes import SMALL
from pysurgeon.model import Model, from_proto
from pysurgeon.model.fidelity import verify_loaded
from pysurgeon.surgery import Calibration, Widen, operate
from pysurgeon.widths.structure import Structure

_OPEN = {"N": 2, "H": 64, "W": 96, "L": 1600}
_SIZES = (
    {"N": 1, "H": 70, "W": 131, "L": 1601},
    {"N": 3, "H": 33, "W": 50, "L": 900},
    {"N": 2, "H": 128, "W": 64, "L": 1280},
)


@pytest.fixture(
    scope="module",
    params=[*((name, False) for name in SMALL), pytest.param(("anchors", True), marks=pytest.mark.slow)],
    ids=str,
)
def export(request):
    """The file, and the shape of its input with names for what is open."""
    import torch

    name, dynamo = request.param
    make, given, axes = SMALL[name]
    torch.manual_seed(0)
    module = make().eval()
    example = torch.randn([_OPEN.get(d, d) for d in given.shape])
    options: dict = {"dynamic_shapes": (given.axes,), "opset_version": 18} if dynamo else {}
    options = options or {"dynamic_axes": {given.name: given.axes, "output": axes}, "opset_version": 17}
    buffer = io.BytesIO()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (example,),
            buffer,
            dynamo=dynamo,
            input_names=[given.name],
            output_names=["output"],
            verbose=False,
            **options,
        )
    return onnx.load_from_string(buffer.getvalue()), given.shape


def assert_same(proto: onnx.ModelProto, shape: tuple, other: Model, *, tolerance: float) -> None:
    for seed, sizes in enumerate(_SIZES):
        x = np.random.default_rng(seed).standard_normal([sizes.get(d, d) for d in shape]).astype(np.float32)
        a, b = (run(model, x, optimized=False)[0] for model in (proto, other))
        assert a.shape == b.shape
        assert float(np.abs(a - b).max()) <= tolerance * float(np.abs(a).max())


def test_loading_keeps_the_function_at_every_size(export):
    proto, shape = export
    model = from_proto(proto)
    assert_same(proto, shape, model, tolerance=1e-5)
    for sizes in _SIZES:
        assert_sizes(model, np.ones([sizes.get(d, d) for d in shape], np.float32))
    assert len(verify_loaded(model).trials) == 3


def test_operations_keep_it_at_every_size(export):
    proto, shape = export
    model = from_proto(proto)
    calibration = Calibration(model)
    names = [w.name for w in Structure(model).widths if w.resizable and w.exact]
    assert len(names) > 2
    for name in (names[0], names[-1]):
        width = Structure(model).width(name)
        model = operate(model, Widen(name, width.size + 2), calibration).model
    assert_same(proto, shape, model, tolerance=2e-5)
