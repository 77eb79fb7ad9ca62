"""A graph under construction: nodes, weights and constants, with what differs between opsets in one place."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

Size = int | str
_STYLES: tuple[Callable[[str, int], str], ...] = (
    lambda kind, n: f"{kind}{n}",
    lambda kind, n: f"{kind}.{n}.weight" if kind == "w" else f"/net/layer.{n}/{kind}_output_0",
    lambda kind, n: f"model/layer_{n}/{kind}/ReadVariableOp:0",
    lambda kind, n: f"{n}" if kind != "w" else f"onnx::{kind}_{n}",
    lambda kind, n: f"a name = {n}, [{kind}]",
)


class Maker:
    """Writes nodes one after another.

    Args:
        rng: Decides everything.
        opset: Of the standard operators.
    """

    def __init__(self, rng: random.Random, opset: int) -> None:
        self.rng, self.opset = rng, opset
        self.numbers = np.random.default_rng(rng.getrandbits(32))
        self.nodes: list[NodeProto] = []
        self.tensors: list[TensorProto] = []
        self.inputs: list[ValueInfoProto] = []
        self.ranges: dict[str, int] = {}  # of inputs that hold numbers of rows
        self.functions: list[Any] = []
        self._style = rng.choice(_STYLES)
        self._named = rng.random() < 0.5
        self._as_constants = rng.random() * 0.3
        self._count = 0

    def name(self, kind: str = "v") -> str:
        """A new name."""
        self._count += 1
        return self._style(kind, self._count)

    def chance(self, probability: float) -> bool:
        """Whether something happens."""
        return self.rng.random() < probability

    def op(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """A node with one result; its name."""
        return self.ops(operator, *inputs, results=1, domain=domain, **attributes)[0]

    def ops(self, operator: str, *inputs: str, results: int, domain: str = "", **attributes: Any) -> list[str]:
        """A node with several results; their names."""
        outputs = [self.name() for _ in range(results)]
        self.node(operator, inputs, outputs, domain=domain, **attributes)
        return outputs

    def node(
        self, operator: str, inputs: Sequence[str], outputs: Sequence[str], domain: str = "", **attributes: Any
    ) -> None:
        """A node with results of these names."""
        given = {k: v for k, v in attributes.items() if v is not None}
        name = self.name(operator) if self._named else ""
        self.nodes.append(helper.make_node(operator, list(inputs), list(outputs), name=name, domain=domain, **given))

    def array(self, values: Any, dtype: Any = None, kind: str = "c") -> str:
        """A constant: an initializer, or now and then what a Constant node gives."""
        array = np.asarray(values, dtype)
        name = self.name(kind)
        tensor = numpy_helper.from_array(array, name)
        if self.chance(self._as_constants) and (self.opset >= 9 or array.dtype.kind == "f"):
            self.node("Constant", [], [name], value=tensor)
        elif self.chance(0.1) and array.dtype == np.float32 and array.size:
            self.tensors.append(helper.make_tensor(name, TensorProto.FLOAT, array.shape, array.ravel().tolist()))
        else:
            self.tensors.append(tensor)
        return name

    def ints(self, *values: int) -> str:
        """A list of integers."""
        return self.array(values, np.int64)

    def scalar(self, value: float) -> str:
        """A float, with no axis or with one."""
        return self.array(value if self.chance(0.6) else [value], np.float32)

    def weight(self, *shape: int, fan: int = 0, around: float = 0.0) -> str:
        """Random numbers that keep the scale of what they are multiplied with (`fan` summands)."""
        spread = 1.0 / np.sqrt(max(fan, 1)) if fan else 0.3
        return self.array(around + spread * self.numbers.standard_normal(shape), np.float32, kind="w")

    def input(self, shape: Sequence[Size], rows: int = 0) -> str:
        """An input of the graph; one of integers below `rows` where that is given."""
        name = self.name("in")
        kind = TensorProto.INT64 if rows else TensorProto.FLOAT
        self.inputs.append(helper.make_tensor_value_info(name, kind, list(shape)))
        if rows:
            self.ranges[name] = rows
        return name

    # What opsets write in different ways.

    def squeeze(self, x: str, *axes: int) -> str:
        """Axes of one taken away."""
        return self._with_axes("Squeeze", 13, x, axes)

    def unsqueeze(self, x: str, *axes: int) -> str:
        """Axes of one added."""
        return self._with_axes("Unsqueeze", 13, x, axes)

    def reduce(self, kind: str, x: str, *axes: int, keep: bool) -> str:
        """`Mean`, `Sum`, `Max` or another reduction along axes."""
        return self._with_axes(f"Reduce{kind}", 13 if kind == "Sum" else 18, x, axes, keepdims=int(keep))

    def _with_axes(self, operator: str, since: int, x: str, axes: Sequence[int], **more: int) -> str:
        if self.opset >= since:
            return self.op(operator, x, self.ints(*axes), **more)
        return self.op(operator, x, axes=list(axes), **more)

    def slice(self, x: str, axis: int, start: int, end: int, step: int = 1) -> str:
        """A part along an axis; `step` from set 10 on."""
        if self.opset >= 10:
            steps = [self.ints(step)] if step != 1 or self.chance(0.3) else []
            return self.op("Slice", x, self.ints(start), self.ints(end), self.ints(axis), *steps)
        return self.op("Slice", x, axes=[axis], starts=[start], ends=[end])

    def split(self, x: str, axis: int, *parts: int) -> list[str]:
        """Parts along an axis."""
        if self.opset >= 13:
            equal = len(set(parts)) == 1 and self.chance(0.5)
            if equal and self.opset >= 18:
                return self.ops("Split", x, results=len(parts), axis=axis, num_outputs=len(parts))
            return self.ops("Split", x, *([] if equal else [self.ints(*parts)]), results=len(parts), axis=axis)
        return self.ops("Split", x, results=len(parts), axis=axis, split=list(parts))

    def clip(self, x: str, low: float | None, high: float | None) -> str:
        """Limits, either of which may be left out."""
        if self.opset >= 11:
            ends = ["" if v is None else self.array(v, np.float32) for v in (low, high)]
            return self.op("Clip", x, *(ends if high is not None else ends[:1]))
        return self.op("Clip", x, min=low, max=high)

    def pad(self, x: str, *pads: int, mode: str = "constant") -> str:
        """Something around it."""
        if self.opset >= 11:
            return self.op("Pad", x, self.ints(*pads), mode=mode)
        return self.op("Pad", x, pads=list(pads), mode=mode)

    def dims(self, x: str, *axes: int) -> list[str]:
        """Sizes of a value along some axes, each as a list of one, as exporters compute them."""
        shape = self.op("Shape", x)
        found = []
        for axis in axes:
            if self.chance(0.5):
                picked = self.op("Gather", shape, self.array(axis, np.int64), axis=0)
                found.append(self.unsqueeze(picked, 0))
            else:
                found.append(self.slice(shape, 0, axis, axis + 1))
        return found

    def reshape(self, x: str, target: Sequence[int | str]) -> str:
        """To a shape of numbers and of values that hold one each."""
        if all(isinstance(t, int) for t in target):
            return self.op("Reshape", x, self.ints(*target))  # type: ignore[arg-type]
        parts = [self.ints(t) if isinstance(t, int) else t for t in target]
        return self.op("Reshape", x, self.op("Concat", *parts, axis=0))
