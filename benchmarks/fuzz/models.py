"""Small models, changed in their structure: load, inspect, doctor, and whatever operation is offered."""

from __future__ import annotations

import contextlib
import random
import tempfile
from pathlib import Path

import onnx

import pysurgeon as ps
from benchmarks.fuzz.changes import changed
from benchmarks.fuzz.seeds import SEEDS
from pysurgeon.errors import SurgeonError


class Models:
    """See `benchmarks.fuzz.worker.Kind`."""

    def __init__(self) -> None:
        self._seeds = [make() for make in SEEDS.values()]
        self._folder = tempfile.TemporaryDirectory(prefix="pysurgeon-fuzz-")

    def file(self, seed: int, number: int) -> Path:
        """The file of a case."""
        rng = random.Random(f"{seed} {number}")  # noqa: S311 (nothing is secret)
        proto = onnx.ModelProto()
        proto.CopyFrom(rng.choice(self._seeds))
        path = Path(self._folder.name) / "model.onnx"
        path.write_bytes(changed(proto, rng))
        return path

    def run(self, seed: int, number: int) -> str:
        """See `benchmarks.fuzz.worker.Kind`."""
        path = self.file(seed, number)
        rng = random.Random(f"{seed} {number} then")  # noqa: S311
        try:
            model = ps.load(path)
            found = ps.inspect(model)
        except SurgeonError as error:
            return type(error).__name__
        wanted = [
            f"{kind}:{w.name}={max(1, w.size + more)}"
            for w in found.widths
            if w.resizable and ":" not in w.name and "=" not in w.name
            for kind, more in (("widen", 1), ("narrow", -1))
        ]
        for layer in found.layers:
            if ":" not in layer.name and "=" not in layer.name:
                wanted += [f"insert:{layer.name}"] * layer.insertable + [f"remove:{layer.name}"] * layer.removable
                wanted += [f"factorize:{layer.name}=1"] * layer.factorizable + [f"bypass:{layer.name}"]
        for operation in rng.sample(wanted, min(2, len(wanted))):
            with contextlib.suppress(SurgeonError):
                ps.apply(model, operation)
        if rng.random() < 0.2:
            with contextlib.suppress(SurgeonError):
                ps.doctor(model, trainer=rng.choice(["ort", "torch"]))
        return "ok"
