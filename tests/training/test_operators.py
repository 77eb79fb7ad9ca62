"""Every operator that is said to train: the view computes the same function, and its gradient is that of the function."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest
from engines import needs_ort
from onnx import NodeProto, helper

from pysurgeon.errors import TrainingError
from pysurgeon.graph import Array
from pysurgeon.model import Model, from_proto
from pysurgeon.model.session import Session, output_error
from pysurgeon.training import training_graph, training_report
from pysurgeon.training.derived_graph.rewrites import REWRITES
from pysurgeon.training.engines.ort_gradients import WITH_GRADIENT

from .zoo import around, cross_entropy, engine_of, gradients, losses_of

TABLE, IMAGE, VOLUME = (4, 6), (4, 6, 6), (4, 3, 4, 3)
# Values far apart, so that no maximum changes hands while a gradient is measured.
SPREAD = (np.random.default_rng(0).permutation(144).reshape(IMAGE) / 3).astype(np.float32)
STEP = 1e-2

pytestmark = needs_ort


def node(op_type: str, *names: str, out: str = "o", **attributes: Any) -> NodeProto:
    outputs = out.split()
    return helper.make_node(
        op_type,
        list(names) or ["h"],
        outputs,
        name=f"the_{op_type}" + "".join(f"/{n}" for n in outputs if n != "o"),
        **attributes,
    )


def ints(*values: int) -> Array:
    return np.array(values, dtype=np.int64)


def floats(*shape: int, low: float = -1.0, high: float = 1.0, seed: int = 1) -> Array:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """An operator in one of its forms."""

    nodes: tuple[NodeProto, ...]
    tensors: dict[str, Array] = field(default_factory=dict)
    shape: tuple[int, ...] = TABLE
    opset: int = 17
    weight: Array | None = None

    def model(self) -> Model:
        return around(self.nodes, self.tensors, shape=self.shape, opset=self.opset, weight=self.weight)


POSITIVE = node("Exp", out="p")
KERNEL = floats(4, 4, 3, 3, seed=9)
CHANNELS = {"S": floats(4, low=0.5, high=1.5), "B": floats(4)}

AS_IT_STANDS = {
    **{op: Case((node(op),)) for op in "Abs Neg Exp Relu Sigmoid Tanh Erf Identity Sin Cos LeakyRelu Flatten".split()},
    **{op: Case((node(op),)) for op in ("Softmax", "LogSoftmax")},
    **{f"{op} axis 1": Case((node(op, axis=1),)) for op in ("Softmax", "LogSoftmax")},
    **{op: Case((POSITIVE, node(op, "p"))) for op in ("Log", "Sqrt", "Reciprocal")},
    **{
        op: Case((node(op, "h", "c"),), {"c": floats(4, 6, low=1.0, high=2.0)})
        for op in "Add Sub Mul Div Max Min".split()
    },
    "Max of three": Case((node("Max", "h", "c", "d"),), {"c": floats(4, 6), "d": floats(6, seed=2)}),
    "Pow": Case((POSITIVE, node("Pow", "p", "e")), {"e": np.float32(1.7).reshape(())}),
    "Gelu": Case((node("Gelu"),), opset=20),
    "Clip": Case(
        (node("Clip", "h", "a", "b"),), {"a": np.float32(-0.76).reshape(()), "b": np.float32(0.436).reshape(())}
    ),
    **{op: Case((POSITIVE, node(op, "p", axes=[2]))) for op in ("ReduceMean", "ReduceL2", "ReduceLogSumExp")},
    **{
        f"{op} 18": Case((POSITIVE, node(op, "p", "a", keepdims=0)), {"a": ints(2)}, opset=18)
        for op in ("ReduceMean", "ReduceL2", "ReduceLogSumExp")
    },
    "ReduceSum": Case((node("ReduceSum", "h", "a", keepdims=0),), {"a": ints(2)}),
    "GlobalAveragePool": Case((node("GlobalAveragePool"),), shape=IMAGE),
    "MaxPool": Case(
        (node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),), shape=IMAGE, weight=SPREAD
    ),
    "MaxPool same": Case(
        (node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),), shape=IMAGE, weight=SPREAD
    ),
    "MaxPool ceil": Case(
        (node("MaxPool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),), shape=IMAGE, weight=SPREAD
    ),
    "Conv": Case((node("Conv", "h", "K", pads=[1, 1, 1, 1]),), {"K": KERNEL}, IMAGE),
    "Conv uneven padding": Case((node("Conv", "h", "K", pads=[0, 0, 1, 1], strides=[2, 2]),), {"K": KERNEL}, IMAGE),
    "Conv depthwise": Case((node("Conv", "h", "K", group=4, dilations=[2, 2]),), {"K": KERNEL[:, :1]}, IMAGE),
    "Conv 1-D": Case((node("Conv", "h", "K"),), {"K": KERNEL[:, :, 0]}),
    "Reshape": Case((node("Reshape", "h", "s"),), {"s": ints(-1, 24)}),
    "Transpose": Case((node("Transpose", perm=[0, 2, 1]),)),
    "Concat": Case((node("Concat", "h", "h", axis=-1),)),
    "Split": Case((node("Split", "h", "s", out="a b", axis=2), node("Mul", "a", "b")), {"s": ints(3, 3)}),
    "Slice": Case((node("Slice", "h", "a", "b", "c", "d"),), {"a": ints(0), "b": ints(6), "c": ints(2), "d": ints(2)}),
    "Gather": Case((node("Gather", "h", "a", axis=2),), {"a": ints(1, 3)}),
    "Gather one": Case((node("Gather", "h", "a", axis=1),), {"a": np.array(1)}),
    "GatherElements": Case((node("GatherElements", "h", "a", axis=0),), {"a": np.zeros((2, 4, 6), np.int64)}),
    "GatherND": Case((node("GatherND", "h", "a"),), {"a": np.array([[0], [1]])}),
    "ScatterND": Case((node("ScatterND", "h", "a", "u"),), {"a": ints(0).reshape(1, 1), "u": floats(1, 4, 6)}),
    "ScatterElements": Case(
        (node("ScatterElements", "h", "a", "u", axis=2),), {"a": np.zeros((1, 4, 1), np.int64), "u": floats(1, 4, 1)}
    ),
    "Squeeze": Case((node("Unsqueeze", "h", "a", out="u"), node("Squeeze", "u", "a")), {"a": ints(1)}),
    "Unsqueeze": Case((node("Unsqueeze", "h", "a"),), {"a": ints(1)}),
    "Expand": Case((node("ReduceMean", "h", out="m", axes=[2]), node("Expand", "m", "s")), {"s": ints(1, 1, 3)}),
    "Tile": Case((node("Tile", "h", "r"),), {"r": ints(1, 2, 1)}),
    "Pad": Case((node("Pad", "h", "p"),), {"p": ints(0, 0, 1, 0, 1, 0)}),
    "Where": Case(
        (node("Greater", "h", "z", out="g"), node("Where", "g", "h", "z")), {"z": np.float32(0.01).reshape(())}
    ),
    "Cast": Case((node("Cast", out="d", to=11), node("Cast", "d", to=1))),
    "TopK": Case((node("TopK", "h", "k", out="o i"),), {"k": ints(2)}),
    "Trilu": Case((node("Trilu"),)),
    "MatMul": Case((node("MatMul", "h", "W"),), {"W": floats(6, 5)}),
    "MatMul of activations": Case((node("Transpose", out="t", perm=[0, 2, 1]), node("MatMul", "h", "t"))),
    "Gemm": Case(
        (node("Flatten", out="f"), node("Gemm", "f", "W", "c", transB=1, alpha=0.5, beta=2.0)),
        {"W": floats(5, 24), "c": floats(5)},
    ),
}

REWRITTEN = {
    **{op: Case((node(op),)) for op in "Elu Selu Celu Softplus Softsign HardSigmoid HardSwish ThresholdedRelu".split()},
    "Elu alpha": Case((node("Elu", alpha=0.3),)),
    "Celu alpha": Case((node("Celu", alpha=0.3),)),
    "Mish": Case((node("Mish"),), opset=18),
    "Softplus far out": Case((node("Softplus"),), weight=np.linspace(-120, 120, 24, dtype=np.float32).reshape(TABLE)),
    "PRelu": Case((node("PRelu", "h", "s"),), {"s": floats(4, 1)}),
    "Gelu": Case((node("Gelu", approximate="tanh"),), opset=20),
    "AveragePool": Case((node("AveragePool", kernel_shape=[2, 2], strides=[2, 2]),), shape=IMAGE),
    "AveragePool padded": Case(
        (node("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),), shape=IMAGE
    ),
    "AveragePool counting": Case(
        (node("AveragePool", kernel_shape=[3, 2], strides=[2, 1], pads=[1, 0, 1, 1], count_include_pad=1),), shape=IMAGE
    ),
    "AveragePool ceil": Case((node("AveragePool", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),), shape=IMAGE),
    "AveragePool same": Case(
        (node("AveragePool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER"),), shape=IMAGE
    ),
    "AveragePool 1-D": Case((node("AveragePool", kernel_shape=[3]),)),
    "Conv same": Case((node("Conv", "h", "K", auto_pad="SAME_UPPER", strides=[2, 2]),), {"K": KERNEL}, IMAGE),
    "Conv same lower": Case((node("Conv", "h", "K", auto_pad="SAME_LOWER"),), {"K": KERNEL[:, :, :2, :2]}, IMAGE),
    "Conv 1-D in groups": Case(
        (node("Conv", "h", "K", "b", group=2, pads=[2, 1], strides=[1]),),
        {"K": floats(4, 3, 3), "b": floats(4)},
        (6, 8),
    ),
    "Conv 1-D in groups, dilated": Case(
        (node("Conv", "h", "K", group=3, dilations=[2], strides=[2]),), {"K": floats(6, 2, 3)}, (6, 9)
    ),
    "Conv 3-D in groups": Case(
        (node("Conv", "h", "K", "b", group=2, pads=[1, 0, 0, 0, 1, 0], strides=[1, 2, 1]),),
        {"K": floats(6, 2, 2, 2, 2), "b": floats(6)},
        VOLUME,
    ),
    "AveragePool 3-D": Case((node("AveragePool", kernel_shape=[2, 2, 2]),), shape=VOLUME),
    "ConvTranspose 3-D in groups": Case(
        (node("ConvTranspose", "h", "K", group=2),), {"K": floats(4, 2, 2, 2, 2)}, (4, 2, 3, 2)
    ),
    "LayerNormalization": Case((node("LayerNormalization", "h", "S", "B"),), {"S": floats(6, low=0.5), "B": floats(6)}),
    "LayerNormalization of equal tensors": Case(
        (node("LayerNormalization", "h", "S", "B"),), {"S": np.ones(6, np.float32), "B": np.ones(6, np.float32)}
    ),
    "LayerNormalization without bias": Case(
        (node("LayerNormalization", "h", "S", axis=1, epsilon=1e-3),), {"S": floats(4, 6, low=0.5)}
    ),
    "InstanceNormalization": Case((node("InstanceNormalization", "h", "S", "B"),), CHANNELS, IMAGE),
    "GroupNormalization": Case((node("GroupNormalization", "h", "S", "B", num_groups=2),), CHANNELS, IMAGE, opset=21),
    "LRN": Case((node("LRN", size=3, alpha=0.3, bias=1.5, beta=0.6),), shape=IMAGE),
    **{
        op: Case((POSITIVE, node(op, "p", axes=[2], keepdims=0)))
        for op in "ReduceMax ReduceMin ReduceL1 ReduceSumSquare ReduceLogSum".split()
    },
    **{
        f"{op} 18": Case((POSITIVE, node(op, "p", "a")), {"a": ints(-1, 1)}, opset=18)
        for op in "ReduceMax ReduceMin ReduceL1 ReduceSumSquare ReduceLogSum".split()
    },
    "GlobalMaxPool": Case((node("GlobalMaxPool"),), shape=IMAGE, weight=SPREAD),
    "Sum": Case((node("Sum", "h", "c", "h"),), {"c": floats(6)}),
    "Sum of one": Case((node("Sum"),)),
    "Mean": Case((node("Mean", "h", "c"),), {"c": floats(6)}),
    "DepthToSpace": Case((node("DepthToSpace", blocksize=2),), shape=IMAGE),
    "DepthToSpace CRD": Case((node("DepthToSpace", blocksize=2, mode="CRD"),), shape=IMAGE),
    "SpaceToDepth": Case((node("SpaceToDepth", blocksize=2),), shape=IMAGE),
    "Split with an unused output": Case((node("Split", "h", "s", out="o q", axis=2),), {"s": ints(2, 4)}),
    "Split with an output for its shape alone": Case(
        (
            node("Split", "h", "s", out="a q", axis=2),
            node("Shape", "q", out="n"),
            node("ConstantOfShape", "n", out="z"),
            node("Concat", "a", "z", axis=2),
        ),
        {"s": ints(2, 4)},
    ),
    "Pad reflect": Case((node("Pad", "h", "p", mode="reflect"),), {"p": ints(0, 1, 2, 0, 0, 1)}),
    "Pad edge": Case((node("Pad", "h", "p", mode="edge"),), {"p": ints(0, 1, 2, 0, 0, 1)}),
    "Pad of some axes": Case((node("Pad", "h", "p", "", "a"),), {"p": ints(1, 2), "a": ints(-1)}, opset=18),
    "Slice backwards": Case(
        (node("Slice", "h", "a", "b", "c", "d"),), {"a": ints(-1), "b": ints(-100), "c": ints(2), "d": ints(-2)}
    ),
    "BatchNormalization by what is computed": Case(
        (node("Abs", "M", out="m"), node("Exp", "M", out="v"), node("BatchNormalization", "h", "S", "B", "m", "v")),
        {**CHANNELS, "M": floats(4, seed=7)},
        IMAGE,
    ),
    "Dropout": Case((node("Dropout"),)),
    "CumSum": Case((node("CumSum", "h", "a"),), {"a": np.array(1)}),
    "CumSum from the end": Case((node("CumSum", "h", "a", exclusive=1, reverse=1),), {"a": np.array(-1)}),
    "Resize nearest": Case(
        (
            node(
                "Resize",
                "h",
                "",
                "s",
                mode="nearest",
                nearest_mode="floor",
                coordinate_transformation_mode="asymmetric",
            ),
        ),
        {"s": np.array([1, 1, 2, 1.5], np.float32)},
        IMAGE,
    ),
    "Resize linear": Case(
        (node("Resize", "h", "", "s", mode="linear"),), {"s": np.array([1, 1, 0.5, 2.4], np.float32)}, IMAGE
    ),
    "Resize to a size": Case(
        (node("Resize", "h", "", "", "s", mode="linear", coordinate_transformation_mode="align_corners"),),
        {"s": ints(2, 4, 9, 3)},
        IMAGE,
    ),
}

SEQUENCE = node("Transpose", out="t", perm=[1, 0, 2])  # (n, 4, 6) with time first


def recurrent(kind: str, gates: int, directions: int = 1, **attributes: Any) -> Case:
    """All steps and the last states, with every input but the lengths; `w` is in front, and W, R, B are trained, too."""
    rng = np.random.default_rng(4)
    shapes = {"W": (gates * 3, 6), "R": (gates * 3, 3), "B": (gates * 6,), "H": (2, 3), "C": (2, 3)}
    tensors = {k: (0.5 * rng.standard_normal((directions, *s))).astype(np.float32) for k, s in shapes.items()}
    cell = kind == "LSTM"
    states = ["H", "C"] if cell else ["H"]
    tensors = {k: v for k, v in tensors.items() if k in ("W", "R", "B", *states)}
    steps = node(kind, "t", "W", "R", "B", "", *states, out="Y last" + " cell" * cell, hidden_size=3, **attributes)
    nodes = [
        SEQUENCE,
        steps,
        node("Transpose", "Y", out="batched", perm=[2, 0, 1, 3]),
        node("Flatten", "batched", out="a"),
        *(node("Transpose", v, out=f"{v}_t", perm=[1, 0, 2]) for v in ("last", *["cell"] * cell)),
        *(node("Flatten", f"{v}_t", out=f"{v}_f") for v in ("last", *["cell"] * cell)),
        node("Concat", "a", "last_f", *["cell_f"] * cell, axis=1),
    ]
    return Case(tuple(nodes), tensors)


for kind_, gates_ in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
    REWRITTEN[kind_] = recurrent(kind_, gates_)
    REWRITTEN[f"{kind_} backwards"] = recurrent(kind_, gates_, direction="reverse")
    REWRITTEN[f"{kind_} both ways"] = recurrent(kind_, gates_, 2, direction="bidirectional")
REWRITTEN["GRU with a linear reset"] = recurrent("GRU", 3, linear_before_reset=1)
REWRITTEN |= {
    "Einsum": Case((node("Einsum", "h", "m", equation="nij,jk->nik"),), {"m": floats(6, 5)}),
    "Einsum of activations": Case((node("Einsum", "h", "h", equation="nij,nkj->nki"),)),
    "Einsum with merged axes": Case(
        (node("Einsum", "h", "m", equation="nij, ijkl -> lnk"),), {"m": floats(4, 6, 2, 2)}
    ),
    "Einsum of three": Case(
        (node("Einsum", "h", "m", "v", equation="nij,jk,i->nk"),), {"m": floats(6, 5), "v": floats(4, seed=2)}
    ),
    "Einsum of one": Case((node("Einsum", equation="nij->nj"),)),
    "Einsum without an arrow": Case((node("Einsum", "h", "m", equation="aij,jk"),), {"m": floats(6, 5)}),
    "Einsum with an ellipsis": Case((node("Einsum", "h", "m", equation="...j, jk -> ...k"),), {"m": floats(6, 5)}),
    "ConvTranspose": Case((node("ConvTranspose", "h", "K"),), {"K": KERNEL}, IMAGE),
    "SoftmaxCrossEntropyLoss": Case(
        (node("SoftmaxCrossEntropyLoss", "h", "l", "cw", ignore_index=-1, out="e"), node("Add", "e", "h")),
        {"l": np.array([[0, 3, -1], [2, -1, 1]]), "cw": np.abs(floats(4))},
        (4, 3),
    ),
    "NegativeLogLikelihoodLoss": Case(
        (node("NegativeLogLikelihoodLoss", "h", "l", reduction="none", out="e"), node("Unsqueeze", "e", "one")),
        {"l": np.array([[0, 3, 1], [2, 0, 1]]), "one": np.array([1])},
        (4, 3),
    ),
    "ConvTranspose with strides": Case(
        (node("ConvTranspose", "h", "K", "b", strides=[2, 3], pads=[1, 0, 1, 1], output_padding=[1, 0]),),
        {"K": KERNEL, "b": floats(4)},
        IMAGE,
    ),
    "ConvTranspose in groups": Case(
        (node("ConvTranspose", "h", "K", group=2, strides=[2, 2], dilations=[2, 1]),), {"K": KERNEL[:, :3]}, IMAGE
    ),
    "ConvTranspose to a size": Case(
        (node("ConvTranspose", "h", "K", strides=[2, 2], auto_pad="SAME_UPPER"),), {"K": KERNEL}, IMAGE
    ),
    "ConvTranspose 1-D": Case((node("ConvTranspose", "h", "K", strides=[2]),), {"K": floats(4, 5, 3)}),
}

LABELS = np.array([0, 3])
CROSS_ENTROPY = cross_entropy()


def inputs(case: Case) -> Array:
    return np.random.default_rng(3).standard_normal((2, *case.shape)).astype(np.float32) * np.float32(0.3)


def measured_gradient(model: Model, x: Array, shape: tuple[int, ...]) -> Array:
    """Central differences of the loss; a change of `w` is a change of `x`, because the two are added."""
    session = Session(model)
    gradient = np.zeros(shape)
    for index in np.ndindex(*shape):
        step = np.zeros(shape, np.float32)
        step[index] = STEP
        above, below = (losses_of(CROSS_ENTROPY, session.run(x + d)["y"], LABELS).mean() for d in (step, -step))
        gradient[index] = (above - below) / (2 * STEP)
    return gradient


def check(case: Case) -> None:
    model, x = case.model(), inputs(case)
    view = training_graph(model)
    onnx.checker.check_model(view.proto, full_check=True)
    assert output_error(Session(model).run(x), Session(from_proto(view.proto)).run(x)) < 2e-6
    engine = engine_of(view)
    loss = gradients(engine, view, x, LABELS)
    assert loss == pytest.approx(losses_of(CROSS_ENTROPY, Session(model).run(x)["y"], LABELS).mean(), rel=1e-5)
    expected = measured_gradient(model, x, case.shape)
    assert np.abs(expected).max() > 1e-3
    assert np.abs(engine.gradients["w"] - expected).max() < 3e-3 * np.abs(expected).max()


@pytest.mark.parametrize("case", AS_IT_STANDS.values(), ids=AS_IT_STANDS.keys())
def test_an_operator_that_trains_as_it_stands_has_a_right_gradient(case: Case) -> None:
    assert {f.status for f in training_report(case.model())} <= {"trains", "frozen"}
    check(case)


@pytest.mark.parametrize("case", REWRITTEN.values(), ids=REWRITTEN.keys())
def test_a_rewrite_keeps_the_function_and_has_a_right_gradient(case: Case) -> None:
    assert "rewritten" in {f.status for f in training_report(case.model())}
    check(case)


def test_every_operator_of_the_tables_is_tested() -> None:
    def tested(cases: dict[str, Case]) -> set[str]:
        return {n.op_type for case in cases.values() for n in case.nodes}

    assert tested(AS_IT_STANDS) >= WITH_GRADIENT - {"BatchNormalization", "LayerNormalization"}
    assert tested(REWRITTEN) >= REWRITES.keys()


@pytest.mark.parametrize("op_type", ["Atan", "Floor", "LpNormalization"])
def test_an_operator_without_gradient_or_rewrite_is_refused_by_name(op_type: str) -> None:
    model = Case((node(op_type),)).model()
    with pytest.raises(TrainingError, match=f"node 'the_{op_type}' cannot be trained through.*{op_type}"):
        training_graph(model)
    (fact,) = [f for f in training_report(model) if f.status == "no gradient"]
    assert (fact.node, fact.operator) == (f"the_{op_type}", op_type)


def test_an_operator_without_gradient_does_no_harm_where_none_arrives() -> None:
    nodes = (node("Floor", out="r"), node("Greater", "r", "z", out="g"), node("Where", "g", "h", "z"))
    model = Case(nodes, {"z": np.float32(0.5).reshape(())}).model()
    assert [f.status for f in training_report(model) if f.operator == "Floor"] == ["frozen"]
    check(
        Case(
            nodes,
            {"z": np.float32(0.5).reshape(())},
            weight=np.linspace(-3.1, 5.2, 24, dtype=np.float32).reshape(TABLE),
        )
    )


def test_a_rewrite_that_does_not_apply_says_why() -> None:
    model = Case(
        (node("Resize", "h", "", "s", mode="cubic"),), {"s": np.array([1, 1, 2, 2], np.float32)}, IMAGE
    ).model()
    with pytest.raises(TrainingError, match=r"node 'the_Resize'.*only nearest and linear"):
        training_graph(model)


def test_softplus_has_a_gradient_at_zero_and_no_overflow_far_out() -> None:
    case = Case((node("Softplus"),), weight=np.zeros(TABLE, np.float32))
    view = training_graph(case.model())
    engine = engine_of(view)
    gradients(engine, view, np.zeros((2, *TABLE), np.float32), LABELS)
    at_zero = engine.gradients["w"].copy()
    expected = measured_gradient(case.model(), np.zeros((2, *TABLE), np.float32), TABLE)
    np.testing.assert_allclose(at_zero, expected, atol=3e-3 * np.abs(expected).max())
    gradients(engine, view, np.full((2, *TABLE), 1e4, np.float32), LABELS)
    assert np.isfinite(engine.gradients["w"]).all()
