"""Normalizations. Along what is averaged, only whole multiples of all units are alike."""

from __future__ import annotations

import onnx_ir as ir

from pysurgeon.graph.inference import Inference, describe
from pysurgeon.graph.operators.elementwise import broadcast
from pysurgeon.graph.registry import Operator, Scaling, register
from pysurgeon.graph.terms import Prod, Term, size


def batch_normalization(inference: Inference, node: ir.Node) -> None:
    """x (N, C, *), scale, bias, mean, var (C): every channel by itself, so a copied channel stays exact."""
    broadcast(inference, node, [node.inputs[0], node.outputs[0]])
    channel = _channel(inference, node)
    for value in (*node.inputs[1:], *node.outputs[1:]):
        for term in inference.terms(value):
            inference.equal(channel, term, node)


def layer_normalization(inference: Inference, node: ir.Node) -> None:
    """Averages along the axes from `axis` on."""
    broadcast(inference, node, [node.inputs[0], node.outputs[0]])
    terms = inference.terms(node.outputs[0])
    axis = int(node.attributes.get_int("axis", -1)) % len(terms)
    for term in terms[axis:]:
        inference.average(term, node)
    for value in node.inputs[1:]:
        broadcast(inference, node, [value, node.outputs[0]])
    for value in node.outputs[1:]:
        statistics = inference.terms(value)
        inference.equal_all(statistics[:axis], terms[: len(statistics[:axis])], node)
        inference.pin_all(statistics[axis:], f"it is a statistic of {describe(node)}")


def instance_normalization(inference: Inference, node: ir.Node) -> None:
    """x (N, C, *), scale, bias (C): averages along all axes behind the channels."""
    broadcast(inference, node, [node.inputs[0], node.outputs[0]])
    for term in inference.terms(node.outputs[0])[2:]:
        inference.average(term, node)
    for value in node.inputs[1:]:
        inference.equal(_channel(inference, node), inference.terms(value)[0], node)


def group_normalization(inference: Inference, node: ir.Node) -> None:
    """x (N, C, *), C in groups that are averaged each; scale and bias a channel, before opset 21 a group."""
    broadcast(inference, node, [node.inputs[0], node.outputs[0]])
    channel, count = _channel(inference, node), int(node.attributes.get_int("num_groups", 1))
    channels = size(channel)
    if channels is None or channels % count:
        inference.pin_node(node, f"{describe(node)}: the number of channels is not known")
        return
    groups, inner = inference.fresh(count), inference.fresh(channels // count)
    inference.equal(channel, Prod((groups, inner)), node)
    inference.attribute(node, "num_groups", groups)
    for term in (inner, *inference.terms(node.outputs[0])[2:]):
        inference.average(term, node)
    for value in node.inputs[1:]:
        term = inference.terms(value)[0]
        inference.equal(term, channel if size(term) == channels else groups, node)


def local_response(inference: Inference, node: ir.Node) -> None:
    """Every channel is divided by what its neighbours give."""
    broadcast(inference, node, [node.inputs[0], node.outputs[0]])
    inference.change(_channel(inference, node), f"{describe(node)} looks at neighbouring units")


def lp_normalization(inference: Inference, node: ir.Node) -> None:
    """Divides by the norm along one axis, which grows with the number of units."""
    broadcast(inference, node, [node.inputs[0], node.outputs[0]])
    terms = inference.terms(node.outputs[0])
    inference.change(terms[int(node.attributes.get_int("axis", -1)) % len(terms)], f"{describe(node)} sums along it")


def mean_variance(inference: Inference, node: ir.Node) -> None:
    """Averages along the given axes."""
    broadcast(inference, node, [node.inputs[0], node.outputs[0]])
    terms = inference.terms(node.outputs[0])
    for axis in node.attributes.get_ints("axes", (0, 2, 3)):
        inference.average(terms[axis], node)


def _channel(inference: Inference, node: ir.Node) -> Term:
    """The term of the channels: axis 1, or the only axis there is."""
    terms = inference.terms(node.outputs[0])
    return terms[min(1, len(terms) - 1)]


_NORM = Scaling.NORMALIZES
register(
    "BatchNormalization",
    operator=Operator(batch_normalization, "all axes", parameters=(1, 2), statistics=(3, 4), scaling=_NORM),
)
_AVERAGED = "all axes; along those that it averages, widening is exact to whole multiples only"
register("LayerNormalization", operator=Operator(layer_normalization, _AVERAGED, parameters=(1, 2), scaling=_NORM))
register("RMSNormalization", operator=Operator(layer_normalization, _AVERAGED, parameters=(1,), scaling=_NORM))
register(
    "InstanceNormalization", operator=Operator(instance_normalization, _AVERAGED, parameters=(1, 2), scaling=_NORM)
)
register(
    "GroupNormalization",
    operator=Operator(
        group_normalization, "the groups, and the channels inside each (averaged)", parameters=(1, 2), scaling=_NORM
    ),
)
register("MeanVarianceNormalization", operator=Operator(mean_variance, _AVERAGED))
register("LRN", operator=Operator(local_response, "all axes; no resizing of the channels is exact"))
register("LpNormalization", operator=Operator(lp_normalization, "all axes; no resizing along `axis` is exact"))
