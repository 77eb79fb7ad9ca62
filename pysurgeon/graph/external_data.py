"""Tensors that are kept outside of the ONNX message: in data files that are mapped, or in memory that is lent.

The message itself cannot hold more than 2 GB (a limit of protobuf), and whatever it holds is copied several times on its
way through serialization.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx_ir as ir

from pysurgeon.graph.tensors import Array

if TYPE_CHECKING:
    import onnx

# Bytes of the smallest tensor that is kept outside. Smaller ones are shapes, axes and biases: the shape inference of ONNX
# and of the engine looks at their values, and a page for each would be waste.
SMALLEST = 1024

# Where each tensor begins in a data file: pages, so that it can be mapped on its own, by other programs too.
ALIGNMENT = 4096

# What a message may hold in tensors. Protobuf stops at 2**31 - 1 bytes; the rest is for the nodes.
LARGEST_MESSAGE = 2_000_000_000

_META = "pysurgeon.external"

Find: TypeAlias = Callable[[ir.ExternalTensor], ir.TensorProtocol]


def remember(model: ir.Model) -> None:
    """Note in the graph that its file kept the weights in a data file. Clones and edits inherit the note; no file shows it."""
    model.graph.meta[_META] = True


def remembered(model: ir.Model) -> bool:
    """Whether the file that this graph comes from kept its weights in a data file."""
    return bool(model.graph.meta.get(_META))


def tensor_bytes(model: ir.Model) -> int:
    """Bytes of all initializers, those of subgraphs included. One that several share counts once for each."""
    return sum(
        v.const_value.nbytes for g in model.graphs() for v in g.initializers.values() if v.const_value is not None
    )


def plain(tensor: ir.TensorProtocol) -> bool:
    """Whether the bytes of a tensor are those of its array: no strings, no types that share a byte."""
    return tensor.dtype not in (ir.DataType.STRING, ir.DataType.UNDEFINED) and tensor.dtype.bitwidth >= 8


def has_large(model: ir.Model) -> bool:
    """Whether there is an initializer that is large enough to be kept outside."""
    return any(
        v.const_value is not None and v.const_value.nbytes >= SMALLEST
        for g in model.graphs()
        for v in g.initializers.values()
    )


def referring(model: ir.Model, refer: Callable[[str, ir.TensorProtocol], ir.ExternalTensor | None]) -> ir.Model:
    """A copy of a graph in which some initializers are references to where their bytes are.

    Args:
        model: Not modified. The copy shares the tensors that `refer` leaves alone.
        refer: From an initializer's name and tensor to the reference, `None` to leave it alone. It is asked about tensors of
            at least `SMALLEST` bytes.
    """
    clone = model.clone()
    for graph in clone.graphs():
        for name, value in graph.initializers.items():
            tensor = value.const_value
            if tensor is not None and plain(tensor) and tensor.nbytes >= SMALLEST:
                value.const_value = refer(name, tensor) or tensor
    return clone


def external_tensors(proto: onnx.ModelProto) -> list[onnx.TensorProto]:
    """The tensors of a message whose bytes are in data files: initializers and attributes, subgraphs and functions included."""
    import onnx

    found: list[onnx.TensorProto] = []

    def keep(tensors: Iterable[onnx.TensorProto]) -> None:
        found.extend(t for t in tensors if t.data_location == onnx.TensorProto.EXTERNAL)

    def look(nodes: Iterable[onnx.NodeProto]) -> None:
        for node in nodes:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    keep([attribute.t])
                keep(attribute.tensors)
                if attribute.HasField("g"):
                    enter(attribute.g)
                for graph in attribute.graphs:
                    enter(graph)

    def enter(graph: onnx.GraphProto) -> None:
        keep(graph.initializer)
        look(graph.node)

    enter(proto.graph)
    for function in proto.functions:
        look(function.node)
    return found


class DataFiles:
    """The data files beside an ONNX file, each of them mapped once.

    A mapping outlives the name: deleting or replacing a data file afterwards does not touch the tensors. Writing into it
    would, as it would for every program that maps it.

    Args:
        folder: Where the ONNX file is. Nothing outside of it is read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._mapped: dict[str, mmap.mmap | bytes] = {}

    def check(self, proto: onnx.TensorProto) -> None:
        """See that the bytes of a tensor are there.

        Raises:
            ValueError: The reference is malformed, leads out of the folder, or the file is too short.
            OSError: The file is missing or cannot be read.
        """
        self.tensor(ir.from_proto(proto))  # type: ignore[arg-type]

    def tensor(self, reference: ir.ExternalTensor) -> ir.TensorProtocol:
        """The tensor that a reference stands for, read-only and not in memory before it is used.

        Raises:
            ValueError: As for `check`.
            OSError: As for `check`.
        """
        name, dtype, shape = reference.name, reference.dtype, reference.shape.numpy()
        if dtype in (ir.DataType.STRING, ir.DataType.UNDEFINED):
            message = f"tensor {name!r}: {dtype.name} cannot be external data"
            raise ValueError(message)
        size, begin = (prod(shape) * dtype.bitwidth + 7) // 8, reference.offset or 0
        content = self._content(str(reference.location), name)
        if begin < 0 or min(shape, default=0) < 0 or begin + size > len(content):
            message = f"tensor {name!r} takes {size} bytes from byte {begin} on, {reference.location!r} has {len(content)} bytes"
            raise ValueError(message)
        if reference.length not in (None, size):
            message = f"tensor {name!r} takes {size} bytes, the file says {reference.length}"
            raise ValueError(message)
        if not plain(reference):
            packed = np.frombuffer(content, np.uint8, size, begin)
            return _described(ir.PackedTensor(packed, dtype, shape=ir.Shape(shape)), reference)
        array = np.frombuffer(content, dtype.numpy().newbyteorder("<"), prod(shape), begin).reshape(shape)
        if not array.flags.aligned:
            array = array.copy()  # compiled code may count on it
            array.flags.writeable = False
        return _described(ir.Tensor(array, dtype), reference)

    def _content(self, location: str, name: str) -> mmap.mmap | bytes:
        if location not in self._mapped:
            path = Path(location)
            if not location or path.is_absolute() or ".." in path.parts:
                message = f"tensor {name!r} names {location!r}, which is not a path below the folder of the model"
                raise ValueError(message)
            resolved = (self._folder / path).resolve(strict=True)
            if not resolved.is_relative_to(self._folder):
                message = f"tensor {name!r} names {location!r}, a link that leads out of the folder of the model"
                raise ValueError(message)
            if not resolved.is_file():
                message = f"tensor {name!r} names {location!r}, which is not a file"
                raise ValueError(message)
            with resolved.open("rb") as file:
                # An empty file cannot be mapped.
                empty = resolved.stat().st_size == 0
                self._mapped[location] = b"" if empty else mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._mapped[location]


def settle(model: ir.Model, find: Find | None = None) -> None:
    """Let the tensors of a graph that was just read hold their bytes, in place and without the message they came from.

    A tensor of the message gives a new copy of its bytes whenever it is asked, and every one keeps the whole message in
    memory. References become mapped arrays.

    Args:
        model: Just read.
        find: From a reference to its tensor, `None` if it has none.
    """
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                value.const_value = _settled(value.const_value, find)
    for nodes in (model.graph.all_nodes(), *(function.all_nodes() for function in model.functions.values())):
        for node in nodes:
            for name, attribute in list(node.attributes.items()):
                if attribute.is_ref() or attribute.type not in (ir.AttributeType.TENSOR, ir.AttributeType.TENSORS):
                    continue
                if attribute.type == ir.AttributeType.TENSOR:
                    held = _settled(attribute.value, find)
                    node.attributes[name] = ir.AttrTensor(name, held, attribute.doc_string)
                else:
                    several = [_settled(t, find) for t in attribute.value]
                    node.attributes[name] = ir.AttrTensors(name, several, attribute.doc_string)


def _settled(tensor: ir.TensorProtocol, find: Find | None) -> ir.TensorProtocol:
    if isinstance(tensor, ir.ExternalTensor):
        assert find is not None
        return find(tensor)
    if not isinstance(tensor, ir.TensorProtoTensor):
        return tensor
    if tensor.nbytes >= SMALLEST and plain(tensor):
        array: Array = tensor.numpy()
        array.flags.writeable = False
        return _described(ir.Tensor(array, tensor.dtype), tensor)
    copy = type(tensor.raw)()
    copy.CopyFrom(tensor.raw)
    return ir.TensorProtoTensor(copy)


def _described(tensor: ir.Tensor[Any] | ir.PackedTensor[Any], like: ir.TensorProtocol) -> ir.TensorProtocol:
    tensor.name, tensor.doc_string = like.name, like.doc_string
    tensor.metadata_props.update(like.metadata_props)
    return tensor
