"""The training graph: a graph derived from the user's whose every node has a gradient. The user's graph is never replaced.

Values keep their names, so what was learnt goes back into the user's graph by the names of its initializers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import onnx_ir as ir
from onnx_ir.passes import common

from pysurgeon.data import Task
from pysurgeon.errors import ModelError, TrainingError
from pysurgeon.graph import Array, CannotWriteError
from pysurgeon.graph.names import Names, value_names
from pysurgeon.model import Model, at_sizes, from_proto, lowered
from pysurgeon.model.dynamic_batch import make_batch_dynamic
from pysurgeon.runtime import DEFAULT_TRAINER, TrainerName
from pysurgeon.training.derived_graph.rewrites import Builder
from pysurgeon.training.engines.engine import EngineSupport, make_support
from pysurgeon.training.losses.loss import Loss
from pysurgeon.training.losses.merge import joined
from pysurgeon.training.task.head import Head, head, node_name

if TYPE_CHECKING:
    import onnx

# What the engine reads. The loss needs opset 12, the rewrites 13; older models are lifted.
OLDEST_OPSET, NEWEST_OPSET, LIFTED_OPSET, NEWEST_IR = 13, 21, 17, 9

Status = Literal["trains", "rewritten", "frozen", "no gradient"]

_FLOATS = (ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


@dataclass(frozen=True)
class NodeFact:
    """What training means for one node of the user's graph.

    Attributes:
        node: Its name.
        operator: Its type.
        status: `trains`: a gradient passes through it as it stands; `rewritten`: it does through another form of it;
            `frozen`: none needs to; `no gradient`: one would have to, and the engine has none, so the model is refused.
        detail: How or why.
    """

    node: str
    operator: str
    status: Status
    detail: str


@dataclass(frozen=True, eq=False)
class TrainingGraph:
    """A graph that the engine can differentiate.

    Attributes:
        ir: The graph; its outputs are the values that the loss is taken on.
        outputs: Names of these, in the order of the loss.
        trainable: Initializers that get a gradient, by their names in the user's graph.
        statistics: Initializers that the engine updates in place: running means and variances.
        facts: What became of each node.
    """

    ir: ir.Model
    outputs: tuple[str, ...]
    trainable: tuple[str, ...]
    statistics: tuple[str, ...]
    facts: tuple[NodeFact, ...]

    @property
    def proto(self) -> onnx.ModelProto:
        """The graph as the protobuf message of the ONNX format, all weights inside."""
        return Model(self.ir).to_proto()

    def tensor(self, name: str) -> Array:
        """The values of an initializer, read-only."""
        return Model(self.ir).tensor(name)


def training_graph(
    model: Model,
    what: Task | Loss = "classification",
    *,
    freeze_statistics: bool = False,
    trainer: TrainerName = DEFAULT_TRAINER,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    frozen: Collection[str] = (),
) -> TrainingGraph:
    """Derive the graph that is trained in the user's place.

    Args:
        model: Not modified.
        what: The loss; or a task, which says what end of the model makes probabilities.
        freeze_statistics: Whether batch normalization is by the running statistics, which then stay as they are.
        trainer: The engine that it is for.
        shapes: Of the inputs, by name, where they are known better than the model says: those that the file leaves open are
            what is fed.
        frozen: Names of the parameters that stay as they are.

    Raises:
        TrainingError: The engine is not installed, a node has no gradient, the opset cannot be translated, the batch size is fixed and cannot
            be dynamic, parameters are not float32, or there is nothing to train.
    """
    _check_types(model)
    support = make_support(trainer, freeze_statistics=freeze_statistics)
    dynamic = make_batch_dynamic(model)
    if shapes and any(v.shape is None or _is_open(v.shape) for node in dynamic.nodes for v in node.outputs):
        dynamic = at_sizes(dynamic, shapes)
    view = _derive(dynamic, _ends(model, what), support, freeze_statistics=freeze_statistics, frozen=frozen)
    for fact in view.facts:
        if fact.status == "no gradient":
            message = f"node {fact.node!r} cannot be trained through: {fact.detail}"
            raise TrainingError(message)
    if not view.trainable:
        raise TrainingError(_nothing_to_train(model, _ends(model, what)))
    return view


def training_report(
    model: Model, task: Task = "classification", output: str = "", *, trainer: TrainerName = DEFAULT_TRAINER
) -> tuple[NodeFact, ...]:
    """Say for every node whether it trains as it stands, is rewritten, stays frozen or is in the way.

    Args:
        model: Not modified.
        task: Says which end of the model makes probabilities.
        output: That is trained; the first one where empty.
        trainer: The engine that it would be trained by.

    Raises:
        TrainingError: The engine is not installed, or the model as a whole cannot be trained, whatever its nodes: its
            opset cannot be translated, its batch size is fixed and cannot be made dynamic, or nothing in it is trained.
    """
    _check_types(model)
    ends = (head(model, task, output),)
    view = _derive(make_batch_dynamic(model), ends, make_support(trainer), freeze_statistics=False)
    if not view.trainable and not any(fact.status == "no gradient" for fact in view.facts):
        raise TrainingError(_nothing_to_train(model, ends))
    return view.facts


def _ends(model: Model, what: Task | Loss) -> tuple[Head, ...]:
    """The ends of a model that a loss is taken before."""
    if isinstance(what, Loss):
        return tuple(head(model, taken.task, taken.output) for taken in what.taken)
    return (head(model, what),)


def _is_open(shape: ir.Shape) -> bool:
    """Whether more of a shape than the batch is not known."""
    return sum(not isinstance(d, int) for d in shape) > 1


def _nothing_to_train(model: Model, ends: tuple[Head, ...]) -> str:
    names = " or ".join(repr(end.output) for end in ends)
    message = f"there is nothing to train: no float32 parameter leads to output {names}"
    if any("Linear" in node.op_type or "Integer" in node.op_type for node in model.nodes):
        message += "; the weights are quantized, so operate on the model that this one was made from, and train that"
    return message


def _check_types(model: Model) -> None:
    for name in model.trainable():
        dtype = model.tensor(name).dtype
        if dtype != "float32":
            message = f"parameter {name!r} is {dtype}; training supports float32: export the model in float32"
            raise TrainingError(message)


def _derive(
    model: Model,
    ends: tuple[Head, ...],
    support: EngineSupport,
    *,
    freeze_statistics: bool,
    frozen: Collection[str] = (),
) -> TrainingGraph:
    graph_model = _lifted(model).ir.clone()
    graph = graph_model.graph
    _name_nodes(graph)
    _spell_out(graph)
    operators = {str(node.name): node.op_type for node in graph}
    facts: dict[str, NodeFact] = {}

    lifted = Model(graph_model)
    trainable, statistics = [n for n in lifted.trainable() if n not in frozen], lifted.statistics()
    _cut(graph, [end.logits for end in ends])
    common.RemoveUnusedNodesPass()(graph_model)
    alive = {str(node.name) for node in graph}
    for name in [n for end in ends for n in end.nodes if n in operators and n not in alive]:
        facts[name] = NodeFact(name, operators[name], "rewritten", "left out: the loss is taken on the logits")
    outputs = " or ".join(dict.fromkeys(repr(end.output) for end in ends))
    for name in operators.keys() - alive - facts.keys():
        facts[name] = NodeFact(name, operators[name], "frozen", f"it does not lead to output {outputs}")
    _rewrite(graph, list(graph), frozenset(trainable), support, facts)

    used = {value.name for node in graph for value in node.inputs if value is not None}
    graph_model.ir_version = min(graph_model.ir_version, NEWEST_IR)
    return TrainingGraph(
        graph_model,
        tuple(str(output.name) for output in graph.outputs),
        tuple(name for name in trainable if name in used),
        () if freeze_statistics else tuple(name for name in statistics if name in used),
        tuple(facts[name] for name in operators),
    )


def _lifted(model: Model) -> Model:
    """The model in an opset that the loss and the rewrites exist in; functions of its own are inlined."""
    if model.ir.functions:
        clone = model.ir.clone()
        common.InlinePass()(clone)
        model = Model(clone, model.notes)
    if OLDEST_OPSET <= model.opset <= NEWEST_OPSET:
        return model
    import onnx

    if model.opset > NEWEST_OPSET:
        try:
            return from_proto(lowered(model.to_proto(), NEWEST_OPSET), origin="the model, in an older opset,")
        except ModelError as error:
            message = (
                f"the model uses opset {model.opset}, and training knows those up to {NEWEST_OPSET}: {error}; export "
                f"it again with opset_version={NEWEST_OPSET} or lower"
            )
            raise TrainingError(message) from error

    try:
        proto = onnx.version_converter.convert_version(model.to_proto(), LIFTED_OPSET)
    except (RuntimeError, onnx.version_converter.ConvertError) as error:
        message = (
            f"the model uses opset {model.opset}, and its operators cannot be lifted to {LIFTED_OPSET} "
            f"({str(error).strip().splitlines()[0][:120]}): export it again with opset_version={LIFTED_OPSET}"
        )
        raise TrainingError(message) from error
    return from_proto(proto, origin="the model, lifted to a newer opset,")


def _name_nodes(graph: ir.Graph) -> None:
    """Give every node a name of its own, so that facts can be told apart: operator and output where the file has none."""
    seen: set[str] = set()
    for node in graph:
        base = node_name(node)
        name, k = base, 1
        while name in seen:
            name, k = f"{base}#{k}", k + 1
        seen.add(name)
        node.name = name


def _spell_out(graph: ir.Graph) -> None:
    """Write down the orders of a Transpose that a file leaves out: some builds of the engine look for them."""
    for node in graph:
        x = node.inputs[0] if node.op_type == "Transpose" and node.domain == "" else None
        if x is not None and x.shape is not None and "perm" not in node.attributes:
            node.attributes["perm"] = ir.AttrInt64s("perm", range(len(x.shape))[::-1])


def _cut(graph: ir.Graph, wanted: list[str]) -> None:
    """Make the values that are wanted the only outputs."""
    values = {value.name: value for node in graph for value in node.outputs}
    values |= {value.name: value for value in (*graph.inputs, *graph.initializers.values())}
    del graph.outputs[:]
    graph.outputs.extend(values[name] for name in wanted)


def with_loss(view: TrainingGraph, loss: Loss, support: EngineSupport) -> ir.Model:
    """A view with a loss behind it: one graph, whose only output is the loss.

    Args:
        view: Not modified.
        loss: Made for the same model.
        support: Of the engine.

    Raises:
        TrainingError: A node of the loss has no gradient, or cannot be computed.
    """
    model, nodes = joined(view, loss)
    facts: dict[str, NodeFact] = {}
    ends = {str(name) for name in view.outputs}
    active = {value for node in model.graph for value in node.outputs if str(value.name) in ends}
    _rewrite(model.graph, nodes, frozenset(view.trainable), support, facts, active)
    for fact in facts.values():
        if fact.status == "no gradient":
            message = f"the loss cannot be trained with, at its node {fact.node!r}: {fact.detail}"
            raise TrainingError(message)
    return model


def _rewrite(
    graph: ir.Graph,
    nodes: Sequence[ir.Node],
    trainable: frozenset[str],
    support: EngineSupport,
    facts: dict[str, NodeFact],
    active: set[ir.Value] | None = None,
) -> None:
    """Give every node on the way of a gradient a form that has one, and note what became of it.

    Args:
        graph: Of the nodes.
        nodes: In topological order.
        trainable: Names of the initializers that get a gradient.
        support: Of the engine.
        facts: Are added.
        active: Values that a gradient goes to beside these initializers.
    """
    active = {*(active or ()), *(value for name, value in graph.initializers.items() if name in trainable)}
    opset = graph.opset_imports.get("", 0)
    wanted, names = _wanted(graph), Names(value_names(graph))

    def note(node: ir.Node, status: Status, detail: str) -> None:
        facts[str(node.name)] = NodeFact(str(node.name), node.op_type, status, detail)

    for node in nodes:
        idle = _why_idle(node, active, wanted)
        if idle:
            lack = support.lacks(node, opset)
            note(node, "no gradient" if lack else "frozen", lack + _advice(node) if lack else idle)
            continue
        floats = [output for output in node.outputs if _is_float(output)]
        rewrite = support.rewrite(node, wanted, opset)
        if rewrite is not None:
            builder = Builder(node, opset, names, trainable)
            try:
                replaced = builder.applied(rewrite.replace)
            except CannotWriteError as error:
                note(node, "no gradient", f"{node.op_type} has no gradient, and {error}")
                active.update(floats)
                continue
            active.update(value for _, value in builder.replace(replaced))
            note(node, "rewritten", rewrite.how)
            continue
        active.update(floats or (node.outputs if rounds(node) else ()))
        lack = support.lacks_gradient(node, opset)
        note(node, "no gradient" if lack else "trains", lack + _advice(node) if lack else _what_trains(node, trainable))


def _why_idle(node: ir.Node, active: Collection[ir.Value], wanted: Collection[ir.Value]) -> str:
    """Why a node needs no gradient, nothing if it does."""
    if node.op_type == "Constant":
        return "it is a constant"
    if not any(value in active for value in _taken(node)):
        return "nothing before it is trained, so it needs no gradient"
    if not any(output in wanted for output in node.outputs):
        return "only shapes, indices or conditions depend on it"
    return ""


def _taken(node: ir.Node) -> list[ir.Value | None]:
    """What a node works with: its inputs, and what graphs inside it use from outside."""
    found: list[ir.Value | None] = list(node.inputs)
    for attribute in node.attributes.values():
        graphs = [attribute.value] if attribute.type == ir.AttributeType.GRAPH else []
        for graph in graphs if attribute.type != ir.AttributeType.GRAPHS else attribute.value:
            found += [v for inner in graph.all_nodes() for v in inner.inputs]
            found += list(graph.outputs)
    return found


def _advice(node: ir.Node) -> str:
    """How a branch that is taken by what is fed can be written out, as the rest of a sentence; empty where that is not it."""
    if node.op_type not in ("If", "Loop"):
        return ""
    waiting, seen = [v for v in node.inputs[:2] if v is not None], set[ir.Value]()
    while waiting:
        value = waiting.pop()
        if value in seen:
            continue
        seen.add(value)
        producer = value.producer()
        waiting += [v for v in producer.inputs if v is not None] if producer is not None else []
    fed = sorted(str(v.name) for v in seen if v.is_graph_input() and not v.is_initializer())
    return f"; say what is fed to choose its course, and it is written out: --fix {fed[0]}=VALUE" if fed else ""


def _wanted(graph: ir.Graph) -> set[ir.Value]:
    """The values that a gradient arrives at from the logits: along floats, not along shapes, indices and conditions."""
    wanted = set(graph.outputs)
    for node in reversed(graph):
        if any(output in wanted for output in node.outputs):
            values = node.inputs[:1] if rounds(node) else _taken(node)
            wanted.update(v for v in values if v is not None and (_is_float(v) or rounds(node)))
    return wanted


def rounds(node: ir.Node) -> bool:
    """Whether a node is half of a pair that rounds activations to steps, which engines differentiate as if it were not there."""
    if node.domain not in ("", "com.microsoft") or node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
        return False
    if node.op_type == "DequantizeLinear":
        before = node.inputs[0].producer() if node.inputs[0] is not None else None
        return before is not None and before.op_type == "QuantizeLinear" and rounds(before)
    users = [use.node for use in node.outputs[0].uses()]
    return bool(users) and all(user.op_type == "DequantizeLinear" for user in users)


def _is_float(value: ir.Value) -> bool:
    return value.dtype in _FLOATS or value.dtype is None


def _what_trains(node: ir.Node, trainable: frozenset[str]) -> str:
    held = [str(v.name) for v in node.inputs if v is not None and v.name in trainable]
    if node.op_type == "BatchNormalization":
        return f"{', '.join(held)} by gradient; its statistics from the batches" if held else "statistics from batches"
    return ", ".join(held) if held else "the gradient passes through"
