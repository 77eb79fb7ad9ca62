"""How long it takes to find all widths of a model: given files, and chains of residual blocks up to 10,000 nodes.

    python -m benchmarks.constraints [FILE.onnx ...]

Median processor time of five turns on one thread, without reading the file; what lies on a chain is all one width, the streams of its blocks
apart, so a step that looked at a node once for every other one would show.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from pysurgeon.model import Model, from_proto, load
from pysurgeon.widths.structure import Structure

BLOCK = 5  # nodes: two layers, their activations, and the sum
LENGTHS = (1_250, 2_500, 5_000, 10_000)


def chain(nodes: int) -> Model:
    """Residual blocks of dense layers, one behind the other."""
    rng = np.random.default_rng(0)
    weights = {"in": (3, 4), "out": (4, 2)}
    listed = [helper.make_node("MatMul", ["x", "in"], ["h0"])]
    count = nodes // BLOCK
    for k in range(count):
        weights |= {f"up{k}": (4, 6), f"down{k}": (6, 4)}
        listed += [
            helper.make_node("MatMul", [f"h{k}", f"up{k}"], [f"a{k}"]),
            helper.make_node("Relu", [f"a{k}"], [f"b{k}"]),
            helper.make_node("MatMul", [f"b{k}", f"down{k}"], [f"c{k}"]),
            helper.make_node("Tanh", [f"c{k}"], [f"d{k}"]),
            helper.make_node("Add", [f"h{k}", f"d{k}"], [f"h{k + 1}"]),
        ]
    listed.append(helper.make_node("MatMul", [f"h{count}", "out"], ["y"]))
    ends = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["N", s]) for n, s in (("x", 3), ("y", 2))]
    tensors = [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n) for n, s in weights.items()]
    graph = helper.make_graph(listed, "chain", ends[:1], ends[1:], tensors)
    return from_proto(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]))


def seconds(model: Model) -> float:
    """Median processor time of an inference."""
    times = []
    for _ in range(5):
        began = time.process_time()
        found = Structure(model)
        assert found.widths
        times.append(time.process_time() - began)
    return statistics.median(times)


def main() -> None:
    """Print a line a model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE.onnx")
    arguments = parser.parse_args()
    print(f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}, onnx {onnx.__version__}")
    print(f"{'model':40} {'nodes':>7} {'widths':>7} {'s':>8} {'us a node':>10}")
    for name, model in [(f"chain {n:,}", chain(n)) for n in LENGTHS] + [(f.stem, load(f)) for f in arguments.files]:
        nodes, took = len(list(model.ir.graph)), seconds(model)
        widths = sum(w.resizable for w in Structure(model).widths)
        print(f"{name:40} {nodes:7,} {widths:7,} {took:8.3f} {1e6 * took / nodes:10.0f}")


if __name__ == "__main__":
    main()
