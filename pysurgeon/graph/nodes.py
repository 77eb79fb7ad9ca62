"""Nodes as rules and users know them."""

from __future__ import annotations

import onnx_ir as ir

from pysurgeon.graph.tensors import constant


def describe(node: ir.Node) -> str:
    """A node as a user knows it."""
    return f"{node.op_type} {node.name!r}" if node.name else f"the {node.op_type} that gives {key(node)!r}"


def key(node: ir.Node) -> str:
    """A name of a node that every node has: that of its first output that has one."""
    return next((str(o.name) for o in node.outputs if o.name), "")


def static(value: ir.Value | None) -> list[int] | None:
    """A constant operand (axes, shape, ...) as a list of integers."""
    array = constant(value)
    return None if array is None else [int(k) for k in array.reshape(-1)]


def operand(node: ir.Node, position: int) -> ir.Value | None:
    """An operand that may be absent."""
    return node.inputs[position] if position < len(node.inputs) else None


# What a rule meets that counts on axes, operands and numbers that a node does not have. Others are defects of the rule.
STUMBLED = (ArithmeticError, AssertionError, LookupError, TypeError, ValueError)
