"""Normalizations. Along what is averaged, only whole multiples of all units are alike."""

from __future__ import annotations

import onnx_ir as ir

from pysurgeon.graph.nodes import describe
from pysurgeon.graph.terms import Prod, Term, size
from pysurgeon.operators.constraints import Constraints
from pysurgeon.operators.elementwise import broadcast
from pysurgeon.operators.operator import Family, Operator, Scaling

FAMILY = Family()


def batch_normalization(constraints: Constraints, node: ir.Node) -> None:
    """x (N, C, *), scale, bias, mean, var (C): every channel by itself, so a copied channel stays exact."""
    broadcast(constraints, node, [node.inputs[0], node.outputs[0]])
    channel = _channel(constraints, node)
    for value in (*node.inputs[1:], *node.outputs[1:]):
        for term in constraints.terms(value):
            constraints.equal(channel, term, node)


def layer_normalization(constraints: Constraints, node: ir.Node) -> None:
    """Averages along the axes from `axis` on."""
    broadcast(constraints, node, [node.inputs[0], node.outputs[0]])
    terms = constraints.terms(node.outputs[0])
    axis = int(node.attributes.get_int("axis", -1)) % len(terms)
    for term in terms[axis:]:
        constraints.average(term, node)
    for value in node.inputs[1:]:
        broadcast(constraints, node, [value, node.outputs[0]])
    for value in node.outputs[1:]:
        statistics = constraints.terms(value)
        constraints.equal_all(statistics[:axis], terms[: len(statistics[:axis])], node)
        constraints.pin_all(statistics[axis:], f"it is a statistic of {describe(node)}")


def instance_normalization(constraints: Constraints, node: ir.Node) -> None:
    """x (N, C, *), scale, bias (C): averages along all axes behind the channels."""
    broadcast(constraints, node, [node.inputs[0], node.outputs[0]])
    for term in constraints.terms(node.outputs[0])[2:]:
        constraints.average(term, node)
    for value in node.inputs[1:]:
        constraints.equal(_channel(constraints, node), constraints.terms(value)[0], node)


def group_normalization(constraints: Constraints, node: ir.Node) -> None:
    """x (N, C, *), C in groups that are averaged each; scale and bias a channel, before opset 21 a group."""
    broadcast(constraints, node, [node.inputs[0], node.outputs[0]])
    channel, count = _channel(constraints, node), int(node.attributes.get_int("num_groups", 1))
    channels = size(channel)
    if channels is None or channels % count:
        constraints.pin_node(node, f"{describe(node)}: the number of channels is not known")
        return
    groups, inner = constraints.fresh(count), constraints.fresh(channels // count)
    constraints.equal(channel, Prod((groups, inner)), node)
    constraints.attribute(node, "num_groups", groups)
    for term in (inner, *constraints.terms(node.outputs[0])[2:]):
        constraints.average(term, node)
    for value in node.inputs[1:]:
        term = constraints.terms(value)[0]
        constraints.equal(term, channel if size(term) == channels else groups, node)


def local_response(constraints: Constraints, node: ir.Node) -> None:
    """Every channel is divided by what its neighbours give."""
    broadcast(constraints, node, [node.inputs[0], node.outputs[0]])
    constraints.change(_channel(constraints, node), f"{describe(node)} looks at neighbouring units")


def lp_normalization(constraints: Constraints, node: ir.Node) -> None:
    """Divides by the norm along one axis, which grows with the number of units."""
    broadcast(constraints, node, [node.inputs[0], node.outputs[0]])
    terms = constraints.terms(node.outputs[0])
    constraints.change(terms[int(node.attributes.get_int("axis", -1)) % len(terms)], f"{describe(node)} sums along it")


def mean_variance(constraints: Constraints, node: ir.Node) -> None:
    """Averages along the given axes."""
    broadcast(constraints, node, [node.inputs[0], node.outputs[0]])
    terms = constraints.terms(node.outputs[0])
    for axis in node.attributes.get_ints("axes", (0, 2, 3)):
        constraints.average(terms[axis], node)


def _channel(constraints: Constraints, node: ir.Node) -> Term:
    """The term of the channels: axis 1, or the only axis there is."""
    terms = constraints.terms(node.outputs[0])
    return terms[min(1, len(terms) - 1)]


_NORM = Scaling.NORMALIZES
FAMILY.add(
    "BatchNormalization",
    operator=Operator(batch_normalization, "all axes", parameters=(1, 2), statistics=(3, 4), scaling=_NORM),
)
_AVERAGED = "all axes; along those that it averages, widening is exact to whole multiples only"
FAMILY.add("LayerNormalization", operator=Operator(layer_normalization, _AVERAGED, parameters=(1, 2), scaling=_NORM))
FAMILY.add("RMSNormalization", operator=Operator(layer_normalization, _AVERAGED, parameters=(1,), scaling=_NORM))
FAMILY.add(
    "InstanceNormalization", operator=Operator(instance_normalization, _AVERAGED, parameters=(1, 2), scaling=_NORM)
)
FAMILY.add(
    "GroupNormalization",
    operator=Operator(
        group_normalization, "the groups, and the channels inside each (averaged)", parameters=(1, 2), scaling=_NORM
    ),
)
FAMILY.add("MeanVarianceNormalization", operator=Operator(mean_variance, _AVERAGED))
FAMILY.add("LRN", operator=Operator(local_response, "all axes; no resizing of the channels is exact"))
FAMILY.add("LpNormalization", operator=Operator(lp_normalization, "all axes; no resizing along `axis` is exact"))
