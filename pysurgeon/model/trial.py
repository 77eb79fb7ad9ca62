"""A first run of a doubtful model in a process apart: kernels believe that a model is formed as its operators are.

What the shape inference of ONNX has no objection to, with every shape known, is run at once. Where it had some, or could not say what a node
gives, a kernel may meet operands that it reads beyond the end of.
"""

from __future__ import annotations

import io
import struct
from functools import cache
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from pysurgeon.apart import ApartEndedError, ApartError, Helper
from pysurgeon.errors import ModelError
from pysurgeon.graph import external_data

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pysurgeon.graph.tensors import Array

_META = "pysurgeon.doubt"

_CODE = """
import io
import numpy as np
sys.modules["onnxruntime.training.ortmodule"] = None
import onnxruntime
def answer(request):
    size = struct.unpack("<Q", request[:8])[0]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(request[8 : 8 + size], options, providers=["CPUExecutionProvider"])
    with np.load(io.BytesIO(request[8 + size :])) as feeds:
        session.run(None, {name: feeds[name] for name in feeds.files})
    return b""
"""


def is_odd(value: ir.Value) -> bool:
    """Whether a size of a value is not known, under no name but one that inference makes up, or is zero: kernels divide by it."""
    if value.shape is None:
        return True
    names = [d.value for d in value.shape if isinstance(d, ir.SymbolicDim)]
    return 0 in value.shape or any(name is None or name.startswith(("unk__", "unknown_")) for name in names)


def doubt(model: ir.Model) -> None:
    """Note in the graph that it has to be tried. Clones and edits inherit the note; no file shows it."""
    model.graph.meta[_META] = True


def doubtful(model: ir.Model) -> bool:
    """Whether a graph has to be tried."""
    return bool(model.graph.meta.get(_META))


def misfit(graph: ir.Graph) -> str:
    """What is wrong with the first node that nobody could run: what the checker and the inference of ONNX do not look at. Nothing if all is well."""
    for node in graph:
        for value in node.outputs:
            count = prod(d if isinstance(d, int) else 1 for d in value.shape or ())
            if count > _MOST_NUMBERS:
                return f"{node.op_type} {node.name or value.name!r} gives {count:,} numbers for one sample, more than anybody could compute"
    return _misfit_cell(graph)


def _misfit_cell(graph: ir.Graph) -> str:
    """A recurrent cell whose parameters do not fit one another: the kernel reads as many numbers as it needs."""
    for node in graph:
        gates = _GATES.get(node.op_type) if node.domain == "" else None
        if gates is None or len(node.inputs) < 3:
            continue
        shapes = [None if v is None or v.shape is None else list(v.shape) for v in node.inputs]
        hidden = node.attributes.get_int("hidden_size", None)
        if hidden is None and shapes[2]:
            hidden = next((d for d in shapes[2][2:3] if isinstance(d, int)), None)
        directions = 2 if node.attributes.get_string("direction", "forward") == "bidirectional" else 1
        of_gates, of_biases, of_peepholes = (None if hidden is None else k * hidden for k in (gates, 2 * gates, 3))
        wanted: dict[int, list[int | None]] = {
            0: [None, None, None],
            1: [directions, of_gates, None],
            2: [directions, of_gates, hidden],
            3: [directions, of_biases],
            4: [None],
            5: [None, None, hidden],
            6: [None, None, hidden],
            7: [directions, of_peepholes],
        }
        for position, given in enumerate(shapes):
            if given is not None and not _fits(given, wanted.get(position, [])):
                return f"{node.op_type} {node.name or node.outputs[0].name!r} has an operand {given} where {wanted.get(position)} belongs"
    return ""


def _fits(given: Sequence[object], wanted: Sequence[int | None]) -> bool:
    """Whether a shape can be another one; what is not known can be anything."""
    pairs = zip(given, wanted, strict=False)
    return len(given) == len(wanted) and all(a == b for a, b in pairs if isinstance(a, int) and b is not None)


_MOST_NUMBERS = 2**34
_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def tried(model: ir.Model, proto: bytes, feeds: Mapping[str, Array]) -> None:
    """Let a model run once, apart. What it says of errors, it will say here, too.

    Args:
        model: Is no longer doubtful afterwards.
        proto: The model as it is run.
        feeds: What it is fed.

    Raises:
        ModelError: onnxruntime ended, or did not come to an end.
    """
    stream = io.BytesIO()
    arrays: dict[str, Any] = dict(feeds)
    np.savez(stream, **arrays)
    try:
        _helper().ask(struct.pack("<Q", len(proto)) + proto + stream.getvalue())
    except ApartEndedError as error:
        message = f"it cannot be run: {error}; a node of it is not formed as its operator is"
        raise ModelError(message) from error
    except ApartError:
        pass
    model.graph.meta[_META] = False


def too_large(model: ir.Model) -> bool:
    """Whether a graph is not to be copied to another process."""
    return external_data.tensor_bytes(model) > external_data.LARGEST_MESSAGE // 4


@cache
def _helper() -> Helper:
    return Helper("onnxruntime", _CODE)
