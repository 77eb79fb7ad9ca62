"""Types of elements: those of ONNX, of NumPy and of torch."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import torch

from pysurgeon.graph import Array
from pysurgeon.training.engines.torch.node import CannotRunError

_TYPES = {
    ir.DataType.BOOL: torch.bool,
    ir.DataType.UINT8: torch.uint8,
    ir.DataType.INT8: torch.int8,
    ir.DataType.INT16: torch.int16,
    ir.DataType.INT32: torch.int32,
    ir.DataType.INT64: torch.int64,
    ir.DataType.FLOAT16: torch.float16,
    ir.DataType.BFLOAT16: torch.bfloat16,
    ir.DataType.FLOAT: torch.float32,
    ir.DataType.DOUBLE: torch.float64,
}


def torch_dtype(number: int) -> torch.dtype:
    """What torch calls a type that ONNX has a number for.

    Raises:
        CannotRunError: It has no such type, or no arithmetic for it.
    """
    kind = ir.DataType(number)
    if kind not in _TYPES:
        message = f"there are no numbers of type {kind.name} for it"
        raise CannotRunError(message)
    return _TYPES[kind]


def tensor(array: Array) -> torch.Tensor:
    """An array as a tensor on the CPU, in the same memory where it may be written to.

    Raises:
        CannotRunError: torch has no such type.
    """
    if not array.flags.writeable or any(step < 0 for step in array.strides):
        array = np.array(array, order="C")  # torch warns of memory that it must not write to
    try:
        return torch.from_numpy(array)
    except TypeError as error:
        message = f"there are no numbers of type {array.dtype} for it"
        raise CannotRunError(message) from error
