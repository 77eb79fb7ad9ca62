"""Graphs of losses that stand alone: from values of a model and targets to the losses of all places."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pysurgeon.errors import ModelError, UsageError
from pysurgeon.graph import Array
from pysurgeon.model import Model, from_proto
from pysurgeon.model.session import Session
from pysurgeon.training.losses.own import Sample
from pysurgeon.training.losses.shipped import LOSSES

if TYPE_CHECKING:
    import onnx

# What those of the registry are written in; their operators mean the same from 13 to 21.
_OPSET, _IR = 17, 8
BATCH = "batch"


def of_shipped(
    name: str,
    parameters: Mapping[str, float],
    axis: int,
    inputs: Mapping[str, Sample],
    unit: tuple[Array, Array] | None,
) -> Model:
    """The graph of a loss of the registry.

    Args:
        name: In the registry.
        parameters: That are not as they are otherwise.
        axis: Of the vectors in a batch, where the loss is along one.
        inputs: `output`, and `target` where there is one.
        unit: Mean and deviation of the output, float64 ``(1, ...)``; `None` where the output is taken as it is.
    """
    import onnx
    from onnx import helper, numpy_helper, parser

    body = LOSSES[name].text(axis, parameters)
    tensors: list[onnx.TensorProto] = []
    if unit is not None:
        body = f"centred = Sub (value, mean)\noutput = Mul (centred, scale)\n{body}"
        tensors = [
            numpy_helper.from_array(unit[0].astype(np.float32), "mean"),
            numpy_helper.from_array((1.0 / unit[1]).astype(np.float32), "scale"),
        ]
    text = f'<ir_version: {_IR}, opset_import: ["" : {_OPSET}]> loss (float output) => (float loss) {{ {body} }}'
    proto = parser.parse_model(text)
    del proto.graph.input[:], proto.graph.output[:]
    for given, (dtype, shape) in inputs.items():
        wire = "value" if given == "output" and unit is not None else given
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        proto.graph.input.append(helper.make_tensor_value_info(wire, kind, [BATCH, *shape]))
    proto.graph.output.append(helper.make_tensor_value_info("loss", onnx.TensorProto.FLOAT, None))
    proto.graph.initializer.extend(tensors)
    return _loaded(proto, f"the loss {name}")


def of_proto(name: str, proto: onnx.ModelProto, inputs: Mapping[str, Sample]) -> Model:
    """The graph of a user's own.

    Args:
        name: Of the loss, for messages.
        proto: As it was given; not modified.
        inputs: What its inputs are fed, in the names of the graph.

    Raises:
        UsageError: It is no valid graph with one output of floats.
    """
    import onnx
    from onnx import helper

    given = onnx.ModelProto()
    given.CopyFrom(proto)
    if len(given.graph.output) != 1:
        names = ", ".join(o.name for o in given.graph.output)
        message = f"the loss {name} has {len(given.graph.output)} outputs ({names}); it must have one, the loss"
        raise UsageError(message)
    held = {i.name for i in given.graph.initializer}
    del given.graph.input[:]
    for wire, (dtype, shape) in inputs.items():
        if wire not in held:
            kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            given.graph.input.append(helper.make_tensor_value_info(wire, kind, [BATCH, *shape]))
    # Shapes that were written down may be of another output.
    del given.graph.value_info[:]
    out = given.graph.output[0].name
    del given.graph.output[:]
    given.graph.output.append(helper.make_tensor_value_info(out, onnx.TensorProto.FLOAT, None))
    return _loaded(given, f"the loss {name}")


def _loaded(proto: onnx.ModelProto, origin: str) -> Model:
    """The model, its output declared as what inference finds; functions of its own are inlined first, as inference sees no further.

    Raises:
        UsageError: It is not valid, or nobody knows how many axes the loss has.
    """
    import onnx.inliner

    with contextlib.suppress(RuntimeError):
        proto = onnx.inliner.inline_local_functions(proto) if proto.functions else proto
    try:
        proto = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:  # onnx raises several classes
        message = f"{origin} does not fit what it is fed: {str(error).strip()[:300]}"
        raise UsageError(message) from error
    if not proto.graph.output[0].type.tensor_type.HasField("shape"):
        message = f"{origin} computes its loss in a way that nobody knows the shape of; reduce it to one number, or to one a sample"
        raise UsageError(message)
    try:
        return from_proto(proto, origin=origin)
    except ModelError as error:
        raise UsageError(str(error)) from error


def places_of(name: str, graph: Model, inputs: Mapping[str, Sample]) -> tuple[int, ...] | None:
    """Shape of the losses of a sample, `None` where the loss is one number for the batch; found out by a run on zeros.

    Raises:
        UsageError: It is of another shape, or cannot be run.
    """
    taken = {port.name for port in graph.inputs}
    feeds = {n: np.zeros((2, *shape), dtype) for n, (dtype, shape) in inputs.items() if n in taken}
    try:
        found = Session(graph).run(feeds)[graph.outputs[0].name]
    except ModelError as error:
        shapes = ", ".join(f"{n} {x.dtype} {('batch', *x.shape[1:])}" for n, x in feeds.items())
        message = f"the loss {name} cannot be computed of {shapes}: {error}"
        raise UsageError(message) from error
    if found.shape == ():
        return None
    if found.shape[0] != 2:
        message = f"the loss {name} is {found.shape} for 2 samples; it must be one number, or count the samples along its first axis"
        raise UsageError(message)
    return tuple(found.shape[1:])
