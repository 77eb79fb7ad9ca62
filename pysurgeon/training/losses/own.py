"""Losses of the user's own: an ONNX file, or a Python function that is exported, of onnxscript or of torch operations."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import logging
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pysurgeon.errors import SurgeonError, UsageError

if TYPE_CHECKING:
    import onnx

_OPSET = 18  # that torch is asked for; the exporter has no older one

Sample = tuple[np.dtype[np.generic], tuple[int, ...]]
"""Type and shape of an array for one sample."""

TARGETS, TEACHERS = ("target", "targets", "label", "labels", "y"), ("teacher", "teachers")
"""Names of inputs by which a loss says that it takes what the data holds, or what the teacher gives."""


def roles(
    names: Sequence[str], outputs: Sequence[str], *, taught: bool, several: Collection[str] = ()
) -> dict[str, str]:
    """What each input of a loss takes: an output of the model, the targets, or what the teacher gives for an output.

    Inputs that are called as an output take it, those called `teacher` or `teacher_OUTPUT` what the teacher gives for it, and those called `target`
    what the data holds. Of the others, in their order, the first one takes the output that is trained, if none takes one, and the next one the targets
    (what the teacher gives, where there is one).

    Args:
        names: Of the inputs.
        outputs: Of the model, of floats; the first one is the one that is trained.
        taught: Whether there is a teacher.
        several: Outputs that there are labels for, where there are several: `target_OUTPUT` takes those of one.

    Returns:
        `output:NAME`, `teacher:NAME`, `target` or `target:NAME`, by input.

    Raises:
        UsageError: It is not said what an input takes.
    """
    found: dict[str, str] = {}
    for name in names:
        of = next((o for o in outputs for t in TEACHERS if name in (f"{t}_{o}", f"{t}.{o}")), None)
        if name in outputs:
            found[name] = f"output:{name}"
        elif name in TEACHERS or of is not None:
            found[name] = f"teacher:{of or outputs[0]}"
        elif (labelled := next((o for o in several for t in TARGETS if name == f"{t}_{o}"), None)) is not None:
            found[name] = f"target:{labelled}"
        elif name in TARGETS:
            found[name] = "target"
    waiting = [name for name in names if name not in found]
    if waiting and not any(role.startswith("output:") for role in found.values()):
        found[waiting.pop(0)] = f"output:{outputs[0]}"
    if waiting and not {"target", f"teacher:{outputs[0]}"} & set(found.values()):
        found[waiting.pop(0)] = f"teacher:{outputs[0]}" if taught else "target"
    if waiting:
        message = (
            f"nobody knows what the input {waiting[0]!r} of the loss takes; call it as an output of the model ({', '.join(outputs)}), "
            f"target, or teacher"
        )
        raise UsageError(message)
    return {name: found[name] for name in names}


@contextmanager
def blaming(name: str, doing: str) -> Iterator[None]:
    """Whatever goes wrong is told as the user's.

    Raises:
        UsageError: Something does.
    """
    try:
        yield
    except SurgeonError:
        raise
    except Exception as error:  # their code, or an exporter: any error there is
        lines = str(error).strip().splitlines()
        message = f"the loss {name} {doing} ({type(error).__name__}: {lines[0][:300] if lines else ''})"
        raise UsageError(message) from error


def of_file(name: str) -> onnx.ModelProto:
    """The graph of a file.

    Raises:
        UsageError: There is none that could be read.
    """
    import onnx

    path = Path(name).expanduser()
    if not path.is_file():
        message = f"there is no loss {name!r}: no such file"
        raise UsageError(message)
    with blaming(name, "is no ONNX file"):
        return onnx.load(str(path))


def function_of(name: str) -> Any:
    """The function that `module:function` names; modules in the current folder are found.

    Raises:
        UsageError: There is none.
    """
    module_name, _, function_name = name.partition(":")
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        with blaming(name, "cannot be imported"):
            function = getattr(importlib.import_module(module_name), function_name)
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)
    if not callable(function):
        message = f"the loss {name} is no function"
        raise UsageError(message)
    return function


def inputs_of(function: Any) -> tuple[str, ...]:
    """Names of the arguments that a function must be given."""
    if _is_script(function):
        return tuple(function.to_function_proto().input)
    parameters = inspect.signature(function).parameters.values()
    return tuple(
        p.name for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    )


def exported(name: str, function: Any, samples: Mapping[str, Sample]) -> onnx.ModelProto:
    """The graph of a function.

    Args:
        name: Of it, for messages.
        function: Of onnxscript, or of torch operations.
        samples: By argument, in their order.

    Raises:
        UsageError: It cannot be exported.
    """
    if _is_script(function):
        with blaming(name, "cannot be made a graph"):
            return _scripted(function, samples)
    with blaming(name, "cannot be exported by torch"):
        return _traced(function, samples)


def _is_script(function: Any) -> bool:
    return hasattr(function, "to_function_proto")


def _scripted(function: Any, samples: Mapping[str, Sample]) -> onnx.ModelProto:
    import onnx
    from onnx import helper

    proto = function.to_function_proto()
    if len(proto.output) != 1:
        message = f"the loss has {len(proto.output)} outputs; it must have one"
        raise UsageError(message)
    domain = proto.domain or "own"
    proto.domain = domain
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), ["batch", *shape])
        for n, (dtype, shape) in samples.items()
    ]
    loss = onnx.ValueInfoProto(name="loss", type=helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, None))
    node = helper.make_node(proto.name, [i.name for i in inputs], ["loss"], domain=domain)
    imports = [*proto.opset_import, helper.make_opsetid(domain, 1)]
    graph = helper.make_graph([node], "loss", inputs, [loss])
    return helper.make_model(graph, opset_imports=imports, functions=[proto], ir_version=9)


def _traced(function: Callable[..., Any], samples: Mapping[str, Sample]) -> onnx.ModelProto:
    # torch has to be there for a function that is written with it.
    torch = importlib.import_module("torch")

    class Wrapped(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, *values: Any) -> Any:
            return function(*values)

    given = tuple(torch.from_numpy(np.zeros((2, *shape), dtype)) for dtype, shape in samples.values())
    batch = torch.export.Dim("batch")
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                Wrapped(),
                given,
                input_names=list(samples),
                output_names=["loss"],
                dynamo=True,
                dynamic_shapes=(tuple({0: batch} for _ in given),),
                opset_version=_OPSET,
                verbose=False,
            )
    finally:
        logging.disable(level)
    proto: onnx.ModelProto = program.model_proto
    return proto
