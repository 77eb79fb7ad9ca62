"""How much the SVD kernels lose beside other numerical threads of the same process.

``python -m benchmarks.kernels_beside`` decomposes the layers of a ResNet-18 alone, beside a thread that multiplies
matrices with NumPy, and beside one that runs a network in onnxruntime, whose helpers spin or do not while they wait. The
cases take turns; medians of the repetitions are printed, of the processor time of the caller's thread (with one thread
that is the kernel: what it loses is what the others take of the caches and the memory) and of the time of the clock (what
it also loses where there are fewer cores than threads).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # NumPy reads it when it is loaded.

import numpy as np
import onnx
import onnxruntime

from benchmarks.kernels import RESNET18, processor, trained_matrix
from pysurgeon import kernels


@contextlib.contextmanager
def busy(work: Callable[[], object]) -> Iterator[None]:
    """A thread that does some work again and again."""
    done = threading.Event()

    def run() -> None:
        while not done.is_set():
            work()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def session(spinning: bool) -> Callable[[], object]:
    """One run of a few convolutions of 64 filters, on two threads."""
    rng = np.random.default_rng(0)
    make = onnx.helper
    names = ["x", *(f"h{i}" for i in range(4))]
    tensors = [
        onnx.numpy_helper.from_array(rng.standard_normal((64, 64, 3, 3)).astype("f4"), f"w{i}") for i in range(4)
    ]
    nodes = [make.make_node("Conv", [a, f"w{i}"], [b]) for i, (a, b) in enumerate(pairwise(names))]
    value = [make.make_tensor_value_info(n, onnx.TensorProto.FLOAT, ["N", 64, "H", "W"]) for n in (names[0], names[-1])]
    graph = make.make_graph(nodes, "convolutions", value[:1], value[1:], tensors)
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    runner = onnxruntime.InferenceSession(model.SerializeToString(), options)
    feeds = {"x": rng.standard_normal((4, 64, 32, 32)).astype("f4")}
    return lambda: runner.run(None, feeds)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    matrices = [trained_matrix(rng, *shape) for shape in RESNET18]
    square = rng.standard_normal((512, 512)).astype("f4")
    neighbours: dict[str, Callable[[], object] | None] = {
        "alone": None,
        "beside NumPy": lambda: square @ square,
        "beside onnxruntime, spinning": session(True),
        "beside onnxruntime, waiting": session(False),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in neighbours}
    for _ in range(arguments.repetitions + 1):
        for name, work in neighbours.items():
            with busy(work) if work else contextlib.nullcontext():
                time.sleep(0.05)
                start, start_cpu = time.perf_counter(), time.thread_time()
                kernels.singular_values(matrices, threads=arguments.threads)
                times[name].append((time.thread_time() - start_cpu, time.perf_counter() - start))
    print(f"{processor()}, load {os.getloadavg()[0]:.1f}; values of ResNet-18, {arguments.threads} thread(s)")
    print(f"{'':30}{'caller, cpu ms':>16}{'wall ms':>10}")
    for name, pairs in times.items():
        cpu, wall = (statistics.median(x) * 1e3 for x in zip(*pairs[1:], strict=True))  # the first one warms up
        print(f"{name:30}{cpu:16.1f}{wall:10.1f}")


if __name__ == "__main__":
    main()
