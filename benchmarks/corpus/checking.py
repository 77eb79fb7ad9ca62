"""Does an exported file do what its module does, and does it depend on its input?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from .recipe import CHECKED, EXPORTED, Recipe

SMALLEST, LARGEST = 1e-3, 1e4
# Between torch and onnxruntime, relative to the largest output. Deep networks with random weights multiply rounding errors.
TOLERANCE = 1e-3
# A batch that was baked in gives another output altogether, if it gives one.
BAKED_IN = 0.1


def session(path: Path) -> onnxruntime.InferenceSession:
    """A session on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def follows_batch(recipe: Recipe, path: Path) -> str:
    """Empty if the file agrees with the module at other sizes than it was exported with, else why not."""
    inputs = [i.draw(np.random.default_rng(3), CHECKED) for i in recipe.inputs]
    try:
        outputs = _run(session(path), [x.numpy() for x in inputs])
    except Exception as error:  # noqa: BLE001  (exporters and engines raise whatever they like)
        return str(error).splitlines()[0]
    return _difference(recipe, inputs, outputs, BAKED_IN)


def warnings_of(path: Path, recipe: Recipe | None, training: bool, sizes: dict[str, int] | None = None) -> list[str]:
    """What is wrong with a file, in words.

    Args:
        path: The file.
        recipe: The module that it came from; None for a file that came from elsewhere.
        training: Whether the file draws random numbers, so that it cannot be compared with the module.
        sizes: Of the dynamic axes of the inputs.
    """
    try:
        running = session(path)
    except Exception as error:  # noqa: BLE001  (exporters and engines raise whatever they like)
        return [f"onnxruntime: {str(error).splitlines()[0]}"]
    rng = np.random.default_rng(1)
    if recipe is None:
        draws = [_draw(running, rng) for _ in range(2)]
    else:
        draws = [[i.draw(rng, sizes or EXPORTED).numpy() for i in recipe.inputs] for _ in range(2)]
    if any(value is None for value in draws[0]):
        return ["inputs are not tensors of numbers"]
    try:
        first, second = (_run(running, values) for values in draws)
    except Exception as error:  # noqa: BLE001  (exporters and engines raise whatever they like)
        return [f"onnxruntime: {str(error).splitlines()[0]}"]
    found = _judge(first, second)
    if recipe is not None and not training:
        difference = _difference(recipe, [torch.from_numpy(x) for x in draws[0]], first)
        found += [difference] if difference else []
    return found


def _judge(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> list[str]:
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if isinstance(a, np.ndarray) and a.dtype.kind == "f"]
    if not pairs:
        return []
    if not all(np.isfinite(a).all() for pair in pairs for a in pair):
        return ["outputs are not finite"]
    largest = max(float(np.abs(a).max(initial=0)) for a, _ in pairs)
    found = [] if SMALLEST <= largest <= LARGEST else [f"largest output is {largest:.1e}"]
    changes = [float(np.abs(a - b).max(initial=0)) for a, b in pairs if a.shape == b.shape]
    if max(changes, default=1.0) < 1e-3 * largest:
        found.append(f"outputs hardly depend on the input ({max(changes):.1e} of {largest:.1e})")
    return found


def _difference(
    recipe: Recipe, inputs: Sequence[torch.Tensor], outputs: Sequence[np.ndarray], tolerance: float = TOLERANCE
) -> str:
    with torch.no_grad():
        expected = recipe.module(*inputs)
    expected = [expected] if isinstance(expected, torch.Tensor) else list(expected)
    for want, got in zip(expected, outputs, strict=True):
        if tuple(want.shape) != got.shape:
            return f"shape {got.shape}, torch says {tuple(want.shape)}"
        error = float(np.abs(want.numpy() - got).max(initial=0)) / max(float(want.abs().max()), 1e-30)
        if not error < tolerance:
            return f"differs from torch by {error:.1e}"
    return ""


def _run(running: onnxruntime.InferenceSession, values: Sequence[np.ndarray]) -> list[np.ndarray]:
    names = [i.name for i in running.get_inputs()]
    return running.run(None, dict(zip(names, values, strict=True)))


def _draw(running: onnxruntime.InferenceSession, rng: np.random.Generator) -> list[np.ndarray | None]:
    return [_draw_one(i.type, [s if isinstance(s, int) else 2 for s in i.shape], rng) for i in running.get_inputs()]


def _draw_one(kind: str, shape: list[int], rng: np.random.Generator) -> np.ndarray | None:
    if kind in ("tensor(float)", "tensor(double)"):
        return rng.standard_normal(shape).astype(np.float32 if kind == "tensor(float)" else np.float64)
    if kind in ("tensor(int64)", "tensor(int32)"):
        return rng.integers(0, 3, shape).astype(kind[len("tensor(") : -1])
    return rng.random(shape) < 0.5 if kind == "tensor(bool)" else None


def parameters(model: onnx.ModelProto) -> int:
    """Elements of all floating-point initializers."""
    floats = {onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16}
    return sum(int(np.prod(t.dims, dtype=np.int64)) for t in model.graph.initializer if t.data_type in floats)
