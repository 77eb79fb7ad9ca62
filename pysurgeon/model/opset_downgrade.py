"""Models of newer opsets than the engine reads, in an older one.

Most of what opsets 22 and later changed is types: bfloat16, and floats and integers of 4 bits and fewer. A model
that uses none of them means the same in the older set. Operators that are new there mostly come with a definition by others,
which takes their place. What is left is refused with the reason.

`onnx.version_converter` is no help here: it lowers pooling that means something else without a word.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pysurgeon.errors import ModelError
from pysurgeon.model.reading import first_line

if TYPE_CHECKING:
    import onnx

# A definition may use operators that have one, too. None of today's needs a second round.
_ROUNDS = 4

Shapes = Mapping[str, tuple[int | None, ...]]


def lowered(proto: onnx.ModelProto, target: int) -> onnx.ModelProto:
    """The same model in an older opset.

    Args:
        proto: Valid, of opset `target` or later, with the types of its initializers among its values. It may be
            modified. Tensors may be references.
        target: The opset.

    Raises:
        ModelError: An operator means something that the older opset has no words for.
    """
    import onnx.inliner

    version = _version(proto)
    if version <= target:
        return proto
    if proto.functions:
        with contextlib.suppress(RuntimeError):
            proto = onnx.inliner.inline_local_functions(proto)
    if proto.functions:
        names = sorted(f.name for f in proto.functions)
        message = f"its function {names[0]!r} cannot be written out, which opset {target} asks for"
        raise ModelError(message)
    proto = _written_out(proto, version, target)
    shapes = _shapes(proto)
    for node in _nodes(proto.graph):
        reason = difference(node, version, target, shapes)
        if reason is not None:
            message = f"{reason}, and opset {target} has nothing like it"
            raise ModelError(message)
        _drop_defaults(node, version, target)
    for entry in proto.opset_import:
        if entry.domain in _STANDARD:
            entry.version = target
    return proto


def difference(node: onnx.NodeProto, version: int, target: int, shapes: Shapes) -> str | None:
    """What a node of one opset means that it would not mean in an older one; `None` if it is the same in both.

    Which types go in is not looked at: the engine says that better.

    Args:
        node: A node of opset `version`.
        version: Its opset.
        target: The older one.
        shapes: Of values, where they are known.

    Returns:
        A clause that names the operator.
    """
    if node.domain not in _STANDARD:
        return None
    new, old = _schema(node.op_type, version), _schema(node.op_type, target)
    if new is None:
        return f"operator {node.op_type} is not known in opset {version}"
    if old is None:
        return f"operator {node.op_type} came with opset {new.since_version}"
    if new.since_version == old.since_version:
        return None
    changed = f"operator {node.op_type} of opset {new.since_version}"
    if len(node.input) > old.max_input or len(node.output) > old.max_output:
        return f"{changed} has inputs or outputs of its own"
    for ours, theirs in ((new.inputs, old.inputs), (new.outputs, old.outputs)):
        if any(a.option != b.option or a.name != b.name for a, b in zip(ours, theirs, strict=False)):
            return f"{changed} takes or gives other values"
    given = {a.name: a for a in node.attribute}
    for name, attribute in new.attributes.items():
        before = old.attributes.get(name)
        if name not in given:
            # An attribute that is new stands for what was done before, unless it is given.
            if before is not None and before.default_value != attribute.default_value:
                return f"{changed} has another default of {name!r}"
        elif before is None and not _same_value(given[name], attribute.default_value):
            return f"{changed} has {name!r}"
    if node.op_type in _POOLING and new.since_version >= 22 > old.since_version and not _same_windows(node, shapes):
        return f"{changed} leaves out windows that begin in the padding (ceil_mode)"
    return None


_STANDARD = ("", "ai.onnx")
_POOLING = ("AveragePool", "MaxPool")


def _version(proto: onnx.ModelProto) -> int:
    return max((o.version for o in proto.opset_import if o.domain in _STANDARD), default=0)


def _schema(name: str, version: int) -> onnx.defs.OpSchema | None:
    import onnx

    try:
        found = onnx.defs.get_schema(name, version, "")
    except onnx.defs.SchemaError:
        return None
    return None if found.deprecated else found


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)
            for inner in attribute.graphs:
                yield from _nodes(inner)


def _written_out(proto: onnx.ModelProto, version: int, target: int) -> onnx.ModelProto:
    """Replace what the older opset does not have by its definition, where it has one."""
    import onnx.inliner

    for _ in range(_ROUNDS):
        found = set()
        for node in _nodes(proto.graph):
            schema = _schema(node.op_type, version) if node.domain in _STANDARD else None
            if schema is None or _schema(node.op_type, target) is not None:
                continue
            # onnx does not tell type checkers of these two.
            if getattr(schema, "has_function", False) or getattr(schema, "has_context_dependent_function", False):
                found.add(node.op_type)
                _spell_defaults(node, schema)
        if not found:
            break
        ids = [(domain, name) for name in sorted(found) for domain in _STANDARD]
        try:
            proto = onnx.inliner.inline_selected_functions(proto, ids, inline_schema_functions=True)
        except (RuntimeError, TypeError) as error:  # a failed assertion, or a version of onnx that cannot do this
            message = f"operator {min(found)} cannot be written out in those of opset {target} ({first_line(error)})"
            raise ModelError(message) from error
    return proto


def _spell_defaults(node: onnx.NodeProto, schema: onnx.defs.OpSchema) -> None:
    """Give a node the attributes that it leaves to their defaults: definitions are written out without them."""
    given = {a.name for a in node.attribute}
    for name, attribute in schema.attributes.items():
        if name not in given and attribute.default_value.type:
            node.attribute.append(attribute.default_value)


def _drop_defaults(node: onnx.NodeProto, version: int, target: int) -> None:
    """Take away attributes that the older opset does not know. They say what it does anyway."""
    new, old = _schema(node.op_type, version), _schema(node.op_type, target)
    if node.domain not in _STANDARD or new is None or old is None:
        return
    kept = [a for a in node.attribute if a.name in old.attributes or a.name not in new.attributes]
    if len(kept) < len(node.attribute):
        del node.attribute[:]
        node.attribute.extend(kept)


def _same_value(given: onnx.AttributeProto, default: onnx.AttributeProto) -> bool:
    import onnx

    return bool(
        default.type == given.type
        and onnx.helper.get_attribute_value(given) == onnx.helper.get_attribute_value(default)
    )


def _shapes(proto: onnx.ModelProto) -> dict[str, tuple[int | None, ...]]:
    found: dict[str, tuple[int | None, ...]] = {}
    for value in (*proto.graph.input, *proto.graph.value_info, *proto.graph.output):
        if value.type.HasField("tensor_type") and value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            found[value.name] = tuple(d.dim_value if d.HasField("dim_value") else None for d in dims)
    return found


def _same_windows(node: onnx.NodeProto, shapes: Shapes) -> bool:
    """Whether every window of a pooling begins in its input or the padding before it. Later ones are in one set but not the other."""
    import onnx

    given = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if not given.get("ceil_mode", 0):
        return True
    kernel = given["kernel_shape"]
    sizes = shapes.get(node.input[0], ())[2:]
    if len(sizes) != len(kernel) or given.get("auto_pad", b"NOTSET") not in (b"NOTSET", b""):
        return False
    strides, dilations = (given.get(name, [1] * len(kernel)) for name in ("strides", "dilations"))
    pads = given.get("pads", [0] * 2 * len(kernel))
    for k, size in enumerate(sizes):
        if size is None:
            return False
        begin, end = pads[k], pads[k + len(kernel)]
        last = -(-(size + begin + end - dilations[k] * (kernel[k] - 1) - 1) // strides[k])
        if last * strides[k] >= size + begin:
            return False
    return True
