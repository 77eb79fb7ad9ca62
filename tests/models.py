"""A zoo of small models that every test may use, exported in every way that users export.

`build(name)` gives an `onnx.ModelProto` of its own; the export behind it happens once and is kept in pytest's cache. `TORCH` holds the modules and
their input shapes, `exported(module, exporter)` exports one; `HAND_MADE` holds what no exporter writes. `RUNNABLE` names all
models that onnxruntime can run.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

if TYPE_CHECKING:
    import torch

EXPORTERS = ("legacy", "training", "dynamo")
"""`legacy` is torch's TorchScript exporter at opset 17, `training` the same with BatchNormalization kept in training mode."""


# --- modules ------------------------------------------------------------------------------------------------------------------


def _mlp(activation: str) -> Callable[[], torch.nn.Module]:
    def make() -> torch.nn.Module:
        from torch import nn

        act = getattr(nn, activation)
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 9), act(), nn.Linear(9, 7), act(), nn.Linear(7, 4))

    return make


def _cnn(*, norm: bool, activation: str = "ReLU", channels: int = 5) -> Callable[[], torch.nn.Module]:
    def make() -> torch.nn.Module:
        from torch import nn

        act = getattr(nn, activation)
        parts: list[torch.nn.Module] = []
        for i, o in ((2, 6), (6, channels)):
            parts += [nn.Conv2d(i, o, 3, padding=1, bias=not norm), *([nn.BatchNorm2d(o)] if norm else []), act()]
        return nn.Sequential(*parts, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(channels * 9, 8), act(), nn.Linear(8, 4))

    return make


def _residual() -> torch.nn.Module:
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, i: int, o: int, stride: int) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(o)
            self.conv2, self.bn2 = nn.Conv2d(o, o, 3, padding=1, bias=False), nn.BatchNorm2d(o)
            self.short = nn.Conv2d(i, o, 1, stride=stride) if stride > 1 else nn.Identity()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
            return torch.relu(y + self.short(x))

    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.ReLU(),
        Block(4, 4, 1),
        Block(4, 6, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    )


def _dense_net() -> torch.nn.Module:
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.a, self.b = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(7, 5, 1)
            self.norm, self.fc = nn.BatchNorm2d(7), nn.Linear(12 * 3 * 3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.stem(x))
            x = torch.cat([x, torch.relu(self.a(x))], 1)
            x = torch.cat([x, torch.relu(self.b(torch.relu(self.norm(x))))], 1)
            return self.fc(torch.flatten(nn.functional.max_pool2d(x, 2), 1))

    return Net()


def _inception() -> torch.nn.Module:
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.three, self.five = (nn.Conv2d(2, o, k, padding=k // 2) for o, k in ((3, 1), (4, 3), (2, 5)))
            self.mix, self.fc = nn.Conv2d(9, 6, 1), nn.Linear(6, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.cat([torch.relu(self.one(x)), torch.tanh(self.three(x)), torch.sigmoid(self.five(x))], 1)
            return self.fc(torch.relu(self.mix(x)).amax((2, 3)))

    return Net()


def _grouped() -> torch.nn.Module:
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, padding=1, groups=2),
        nn.ReLU(),
        nn.Conv2d(12, 8, 3, padding=1, groups=4),
        nn.ReLU(),
        nn.Conv2d(8, 6, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    )


def _mobile() -> torch.nn.Module:
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.expand = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 8, 1)
            self.norm1, self.norm2, self.norm3 = nn.BatchNorm2d(8), nn.BatchNorm2d(8), nn.BatchNorm2d(4)
            self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
            self.down, self.up = nn.Conv2d(8, 3, 1), nn.Conv2d(3, 8, 1)
            self.project, self.fc = nn.Conv2d(8, 4, 1), nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.stem(x))
            y = nn.functional.relu6(self.norm1(self.expand(x)))
            y = nn.functional.relu6(self.norm2(self.depth(y)))
            gate = torch.sigmoid(self.up(torch.relu(self.down(nn.functional.adaptive_avg_pool2d(y, 1)))))
            x = x + self.norm3(self.project(y * gate))
            return self.fc(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))

    return Net()


def _shuffle() -> torch.nn.Module:
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(2, 12, 1), nn.Conv2d(12, 12, 3, padding=1, groups=3)
            self.c, self.fc = nn.Conv2d(12, 6, 1, groups=3), nn.Linear(6, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.b(torch.relu(self.a(x))))
            n, c, h, w = x.shape
            x = x.reshape(n, 3, c // 3, h, w).transpose(1, 2).reshape(n, c, h, w)
            return self.fc(torch.relu(self.c(x)).mean((2, 3)))

    return Net()


def _flatten(how: str) -> Callable[[], torch.nn.Module]:
    def make() -> torch.nn.Module:
        import torch
        from torch import nn

        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.conv, self.fc1, self.fc2 = nn.Conv2d(2, 5, 3, padding=1), nn.Linear(5 * 9, 8), nn.Linear(8, 4)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                x = nn.functional.max_pool2d(torch.relu(self.conv(x)), 2)
                if how == "view":
                    x = x.view(x.size(0), -1)
                elif how == "product":
                    x = x.reshape(x.shape[0], x.shape[1] * x.shape[2] * x.shape[3])
                else:
                    x = x.permute(0, 2, 3, 1).reshape(x.shape[0], -1)
                return self.fc2(torch.relu(self.fc1(x)))

        return Net()

    return make


def _reduce_mean() -> torch.nn.Module:
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc1, self.fc2 = nn.Conv2d(2, 5, 3), nn.Linear(5, 8), nn.Linear(8, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc2(torch.relu(self.fc1(torch.relu(self.conv(x)).mean([2, 3]))))

    return Net()


def _mixer() -> torch.nn.Module:
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm1, self.norm2 = nn.Linear(5, 6), nn.LayerNorm(6), nn.LayerNorm(6)
            self.up1, self.down1, self.up2, self.down2 = (nn.Linear(i, o) for i, o in ((6, 8), (8, 6), (6, 7), (7, 6)))
            self.head = nn.Linear(6, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            x = x + self.down1(nn.functional.gelu(self.up1(self.norm1(x))))
            x = x + self.down2(torch.relu(self.up2(self.norm2(x))))
            return self.head(x.mean(1))

    return Net()


def _attention() -> torch.nn.Module:
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.q, self.k, self.v = nn.Linear(5, 6), nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(6, 8)
            self.out, self.head = nn.Linear(8, 6), nn.Linear(6, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.stem(x)
            n, t, _ = x.shape
            q, k, v = (layer(x).reshape(n, t, 2, 4).transpose(1, 2) for layer in (self.q, self.k, self.v))
            y = torch.softmax(q @ k.transpose(2, 3) / 2.0, -1) @ v
            return self.head((x + self.out(y.transpose(1, 2).reshape(n, t, 8))).mean(1))

    return Net()


def _tied() -> torch.nn.Module:
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.twice, self.head = nn.Linear(12, 6), nn.Linear(6, 6), nn.Linear(6, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.stem(x.flatten(1)))
            return self.head(torch.relu(self.twice(torch.relu(self.twice(x)))))

    return Net()


def _tokens() -> torch.nn.Module:
    import torch
    from torch import nn

    class Net(nn.Module):
        """Two token streams joined along the tokens and flattened: the term of the reader is (t1 + t2) * c."""

        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.head = nn.Linear(5, 6), nn.Linear(6, 6), nn.Linear(6 * 6, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.a(x))
            return self.head(torch.cat([x, torch.tanh(self.b(x))], 1).flatten(1))

    return Net()


def _softmax() -> torch.nn.Module:
    from torch import nn

    return nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 4), nn.Softmax(-1))


def _conv1d() -> torch.nn.Module:
    from torch import nn

    return nn.Sequential(
        nn.Conv1d(3, 6, 5, padding=2),
        nn.PReLU(6),
        nn.Conv1d(6, 4, 3, stride=2, padding=1),
        nn.LeakyReLU(),
        nn.Flatten(),
        nn.Linear(16, 4),
    )


def _one_unit() -> torch.nn.Module:
    from torch import nn

    return nn.Sequential(nn.Conv2d(2, 1, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16, 1), nn.Tanh(), nn.Linear(1, 4))


def _one_layer() -> torch.nn.Module:
    from torch import nn

    return nn.Sequential(nn.Flatten(), nn.Linear(12, 4))


def _dropout() -> torch.nn.Module:
    from torch import nn

    return nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.ReLU(), nn.Dropout(0.5), nn.Linear(7, 4))


def _double() -> torch.nn.Module:
    import torch

    return _mlp("ReLU")().to(torch.float64)


_IMAGE = (2, 2, 6, 6)
_VECTOR = (2, 3, 4)
_TOKENS = (2, 3, 5)

TORCH: dict[str, tuple[Callable[[], torch.nn.Module], tuple[int, ...]]] = {
    "mlp_relu": (_mlp("ReLU"), _VECTOR),
    "mlp_tanh": (_mlp("Tanh"), _VECTOR),
    "mlp_gelu": (_mlp("GELU"), _VECTOR),
    "cnn": (_cnn(norm=False), _IMAGE),
    "cnn_bn": (_cnn(norm=True), _IMAGE),
    "cnn_silu": (_cnn(norm=True, activation="SiLU"), _IMAGE),
    "residual": (_residual, _IMAGE),
    "dense_net": (_dense_net, _IMAGE),
    "inception": (_inception, _IMAGE),
    "grouped": (_grouped, _IMAGE),
    "mobile": (_mobile, _IMAGE),
    "shuffle": (_shuffle, _IMAGE),
    "flatten_view": (_flatten("view"), _IMAGE),
    "flatten_product": (_flatten("product"), _IMAGE),
    "flatten_nhwc": (_flatten("nhwc"), _IMAGE),
    "reduce_mean": (_reduce_mean, _IMAGE),
    "mixer": (_mixer, _TOKENS),
    "attention": (_attention, _TOKENS),
    "tied": (_tied, _VECTOR),
    "tokens": (_tokens, _TOKENS),
    "softmax": (_softmax, _VECTOR),
    "conv1d": (_conv1d, (2, 3, 8)),
    "one_unit": (_one_unit, _IMAGE),
    "one_layer": (_one_layer, _VECTOR),
    "dropout": (_dropout, _VECTOR),
    "float64": (_double, _VECTOR),
    "untrained": (_cnn(norm=True, channels=6), _IMAGE),
}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Exporters warn of their own deprecation and print their progress; neither is what is tested."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def module(name: str, *, seed: int = 0) -> torch.nn.Module:
    """A module of the zoo in evaluation mode. All but `untrained` have parameters and statistics that differ everywhere."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = TORCH[name][0]()
        if name != "untrained":
            with torch.no_grad():
                for key, tensor in net.state_dict().items():
                    if tensor.ndim == 1 and tensor.is_floating_point():
                        positive = key.endswith("running_var")
                        noise = torch.rand(tensor.shape) + 0.5 if positive else 0.3 * torch.randn(tensor.shape)
                        tensor.copy_(noise if positive else tensor + noise)
    return net.eval()


def export(
    net: torch.nn.Module, shape: tuple[int, ...], exporter: str = "legacy", *, opset: int = 17, batch: str | None = "N"
) -> onnx.ModelProto:
    """Export a module; `batch` is the name of the dynamic first axis, `None` fixes it.

    Args:
        net: In evaluation mode.
        shape: Of the example input.
        exporter: One of `EXPORTERS`.
        opset: Only for the first two.
        batch: Symbol of the first axis.
    """
    import torch

    example = torch.zeros(shape, dtype=next(net.parameters()).dtype)
    buffer = io.BytesIO()
    with _quiet(), torch.random.fork_rng():
        if exporter == "dynamo":
            dynamic = ({0: torch.export.Dim(batch)},) if batch else None
            program = torch.onnx.export(
                net,
                (example,),
                dynamo=True,
                dynamic_shapes=dynamic,
                input_names=["input"],
                output_names=["logits"],
                verbose=False,
            )
            assert program is not None
            return program.model_proto
        axes = {"input": {0: batch}, "logits": {0: batch}} if batch else None
        training = exporter == "training"
        torch.onnx.export(
            net,
            (example,),
            buffer,
            dynamo=False,
            opset_version=opset,
            input_names=["input"],
            output_names=["logits"],
            dynamic_axes=axes,
            training=torch.onnx.TrainingMode.TRAINING if training else torch.onnx.TrainingMode.EVAL,
            do_constant_folding=not training,
        )
    return onnx.load_from_string(buffer.getvalue())


@functools.cache
def _folder() -> Path:
    """Where exports are kept from one run to the next: a folder of its own for every version of this file and of the exporters."""
    import onnxscript
    import torch

    here = Path(__file__)
    versions = f"{onnx.__version__} {onnxscript.__version__} {torch.__version__}"
    digest = hashlib.sha256(here.read_bytes() + versions.encode()).hexdigest()[:16]
    folder = here.parents[1] / ".pytest_cache" / "zoo" / digest
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@functools.cache
def _exported(name: str, exporter: str, opset: int) -> bytes:
    file = _folder() / f"{name}.{exporter}.{opset}.onnx"
    if not file.exists():
        partial = file.with_suffix(f".{os.getpid()}")
        partial.write_bytes(export(module(name), TORCH[name][1], exporter, opset=opset).SerializeToString())
        partial.replace(file)
    return file.read_bytes()


def exported(name: str, exporter: str = "legacy", *, opset: int = 17) -> onnx.ModelProto:
    """A module of the zoo as this exporter writes it."""
    return onnx.load_from_string(_exported(name, exporter, opset))


# --- by hand ------------------------------------------------------------------------------------------------------------------


def parsed(text: str, *, seed: int = 0, **shapes: tuple[int, ...]) -> onnx.ModelProto:
    """A model from ONNX text, with random float32 initializers of the given shapes added to it."""
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(seed)
    for name, shape in shapes.items():
        array = (0.5 * rng.standard_normal(shape)).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


_HEAD = '<ir_version: 8, opset_import: ["" : {opset}{more}]>'


def _plain(opset: int) -> Callable[[], onnx.ModelProto]:
    """A CNN without anything that depends on the version of the opset, `w2` with transB = 0."""

    def make() -> onnx.ModelProto:
        return parsed(
            _HEAD.format(opset=opset, more="")
            + """ plain (float[N, 2, 6, 6] x) => (float[N, 4] y) {
                a = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (x, w1, b1)
                b = Relu (a)
                c = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (b)
                d = Flatten <axis = 1> (c)
                e = Gemm (d, w2, b2)
                f = Sigmoid (e)
                y = Gemm <transB = 1> (f, w3, b3)
            }""",
            w1=(5, 2, 3, 3),
            b1=(5,),
            w2=(45, 7),
            b2=(7,),
            w3=(4, 7),
            b3=(4,),
        )

    return make


def _middle(operator: str, more: str = "") -> Callable[[], onnx.ModelProto]:
    """Four dense layers with this operator between the second and the third one."""

    def make() -> onnx.ModelProto:
        model = parsed(
            _HEAD.format(opset=17, more=more)
            + f""" middle (float[N, 3] x) => (float[N, 2] y) <float[N, 5] u> {{
                a = MatMul (x, first_weight)
                b = Relu (a)
                c = MatMul (b, second_weight)
                u = {operator} (c)
                d = MatMul (u, third_weight)
                e = Relu (d)
                y = MatMul (e, fourth_weight)
            }}"""
        )
        rng = np.random.default_rng(0)
        for name, shape in (("first", (3, 6)), ("second", (6, 5)), ("third", (5, 7)), ("fourth", (7, 2))):
            model.graph.initializer.append(
                numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), f"{name}_weight")
            )
        return model

    return make


def _subgraph() -> onnx.ModelProto:
    """A branch of an If reads a hidden layer with a weight; `r` is used nowhere else, its twin `t` is."""
    return parsed(
        _HEAD.format(opset=17, more="")
        + """ branches (float[N, 3] x, bool flag) => (float[N, 2] y) {
            h = MatMul (x, w1)
            r = Relu (h)
            t = Tanh (h)
            s = MatMul (t, w2)
            q = If (flag) <
                then_branch = then () => (float[N, 2] z1) { z1 = MatMul (r, w3) },
                else_branch = other () => (float[N, 2] z2) { z2 = MatMul (r, w4) }
            >
            k = Relu (s)
            j = MatMul (k, w5)
            y = Add (j, q)
        }""",
        w1=(3, 5),
        w2=(5, 4),
        w3=(5, 2),
        w4=(5, 2),
        w5=(4, 2),
    )


def _overridable() -> onnx.ModelProto:
    """`w1` is an initializer and a graph input, as all were before IR version 4."""
    return parsed(
        _HEAD.format(opset=13, more="")
        + """ overridable (float[N, 3] x, float[3, 5] w1) => (float[N, 2] y) {
            a = MatMul (x, w1)
            b = Relu (a)
            c = MatMul (b, w2)
            d = Relu (c)
            y = MatMul (d, w3)
        }""",
        w1=(3, 5),
        w2=(5, 4),
        w3=(4, 2),
    )


def _old_norm() -> onnx.ModelProto:
    """Before opset 14, a BatchNormalization with five outputs is one in training mode; opset 10 has Clip with attributes."""
    model = parsed(
        _HEAD.format(opset=10, more="")
        + """ old (float[N, 2, 4, 4] x) => (float[N, 3] y) {
            a = Conv (x, w1)
            b, m, v, sm, sv = BatchNormalization (a, scale, shift, mean, var)
            c = Clip <min = 0.0, max = 6.0> (b)
            d = GlobalAveragePool (c)
            e = Flatten (d)
            y = MatMul (e, w2)
        }""",
        w1=(5, 2, 3, 3),
        scale=(5,),
        shift=(5,),
        mean=(5,),
        w2=(5, 3),
    )
    model.graph.initializer.append(numpy_helper.from_array(np.linspace(0.5, 1.5, 5, dtype=np.float32), "var"))
    return model


def _left_weight() -> onnx.ModelProto:
    """Weights on the left of MatMul, Gemm with transA and beta, a bias of rank two."""
    return parsed(
        _HEAD.format(opset=17, more="")
        + """ left (float[N, 8, 3] x) => (float[3, 2] y) {
            a = MatMul (w1, x)
            b = Relu (a)
            c = MatMul (w2, b)
            d = ReduceMean <axes = [0], keepdims = 0> (c)
            e = Gemm <transA = 1, beta = 0.5> (d, w3, b3)
            f = Tanh (e)
            y = Gemm <transB = 1, alpha = 0.7> (f, w4)
        }""",
        w1=(6, 8),
        w2=(7, 6),
        w3=(7, 6),
        b3=(1, 6),
        w4=(2, 6),
    )


def _shared_norm() -> onnx.ModelProto:
    """Two layers with one bias tensor: their widths belong together."""
    return parsed(
        _HEAD.format(opset=17, more="")
        + """ shared (float[N, 3] x) => (float[N, 2] y) {
            a = Gemm (x, w1, b)
            c = Relu (a)
            d = Gemm (c, w2, b)
            e = Relu (d)
            y = Gemm (e, w3)
        }""",
        w1=(3, 5),
        w2=(5, 5),
        b=(5,),
        w3=(5, 2),
    )


def _positive() -> onnx.ModelProto:
    """Roots of what is positive only by the signs of the weights: a unit at random would give NaN."""
    model = parsed(
        _HEAD.format(opset=17, more="")
        + """ positive (float[N, 3] x) => (float[N, 2] y) {
            a = MatMul (x, w1)
            b = Relu (a)
            c = MatMul (b, w2)
            d = Sqrt (c)
            e = MatMul (d, w3)
            y = Sigmoid (e)
        }""",
        w1=(3, 5),
        w2=(5, 4),
        w3=(4, 2),
    )
    array = np.abs(numpy_helper.to_array(model.graph.initializer[1]))
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(array, "w2"))
    return model


def _fixed_batch() -> onnx.ModelProto:
    return export(module("flatten_view"), (1, *_IMAGE[1:]), "legacy", batch=None)


HAND_MADE: dict[str, Callable[[], onnx.ModelProto]] = {
    **{f"plain_opset{k}": _plain(k) for k in (11, 13, 17, 20)},
    "unknown_operator": _middle("ai.onnx.ml.Normalizer", ', "ai.onnx.ml" : 3'),
    "subgraph": _subgraph,
    "overridable": _overridable,
    "old_norm": _old_norm,
    "left_weight": _left_weight,
    "shared_bias": _shared_norm,
    "positive": _positive,
    "fixed_batch": _fixed_batch,
}

UNRUNNABLE: dict[str, Callable[[], onnx.ModelProto]] = {
    "custom_domain": _middle("some.domain.Mystery", ', "some.domain" : 1'),
}
"""Valid models that onnxruntime lacks an operator for."""

RUNNABLE = (*(f"{name}.legacy" for name in TORCH), *HAND_MADE)
"""Models that every test should hold for: what torch's older exporter writes, and what was made by hand."""

NEW_EXPORTER = tuple(f"{name}.dynamo" for name in TORCH)
TRAINING_EXPORT = tuple(f"{name}.training" for name in TORCH)


def build(name: str) -> onnx.ModelProto:
    """A model of the zoo: `cnn.legacy`, `cnn.training`, `cnn.dynamo`, ..., or the name of one that was made by hand."""
    made = HAND_MADE.get(name) or UNRUNNABLE.get(name)
    return made() if made is not None else exported(*name.split("."))
