"""Constants, and tensors that are made from shapes. What shapes are computed with stays on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pysurgeon.training.engines.torch.node import CannotRunError, Function, Node, Operator, simple
from pysurgeon.training.engines.torch.types import tensor, torch_dtype

_LISTS: dict[str, Any] = {
    "value_int": np.int64,
    "value_ints": np.int64,
    "value_float": np.float32,
    "value_floats": np.float32,
}


def _constant(node: Node) -> Function:
    ((name, given),) = node.attributes.items()
    if name != "value" and name not in _LISTS:
        message = f"a constant given as {name} is not known"
        raise CannotRunError(message)
    value = tensor(np.asarray(given, _LISTS.get(name)))
    return lambda: value


def _shape(node: Node) -> Function:
    start, end = node.integer("start", 0), node.attributes.get("end")
    return lambda x: torch.tensor(x.shape[start:end], dtype=torch.int64)


def _size(x: Tensor) -> Tensor:
    return torch.tensor(x.numel())


def _filled(node: Node) -> Function:
    given = np.asarray(node.attributes.get("value", np.zeros(1, np.float32))).reshape(())
    value = tensor(given)
    return lambda shape: value.expand(tuple(shape))


def _range(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


def _eye_like(node: Node) -> Function:
    kind, shift = node.attributes.get("dtype"), node.integer("k", 0)
    dtype = None if kind is None else torch_dtype(int(kind))

    def function(x: Tensor) -> Tensor:
        rows, columns = x.shape
        eye = torch.ones(rows, columns, dtype=dtype or x.dtype, device=x.device)
        return eye.triu(shift).tril(shift)

    return function


OPERATORS = {
    "Constant": Operator(_constant),
    "ConstantOfShape": Operator(_filled, (0,)),
    "EyeLike": Operator(_eye_like),
    "Range": simple(_range),
    "Shape": Operator(_shape),
    "Size": simple(_size),
}
