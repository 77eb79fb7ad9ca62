"""A lineage written by hand: two generations decided, one with a refusal, one with a branch that diverged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from pysurgeon.evolution import EvolveSettings, Journal
from pysurgeon.model import Model, from_proto
from pysurgeon.model.model import refresh
from pysurgeon.surgery import operate, parse

PARENTS = {"g1-1": "start", "g1-2": "start", "g1-3": "start", "g2-1": "g1-1", "g2-2": "g1-1"}
EVIL = "<script>alert(1)</script>"


def network(first: str = "fc1", hidden: int = 6) -> Model:
    """Two dense layers, 4 -> hidden -> 3, with a ReLU between them."""
    rng = np.random.default_rng(0)
    shapes = {f"{first}.weight": (hidden, 4), f"{first}.bias": (hidden,), "fc2.weight": (3, hidden), "fc2.bias": (3,)}
    values = {}
    for name, shape in shapes.items():
        tensor = ir.Tensor(rng.standard_normal(shape).astype(np.float32), name=name)
        values[name] = ir.Value(name=name, shape=ir.Shape(shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    x = ir.Value(name="x", shape=ir.Shape(["batch", 4]), type=ir.TensorType(ir.DataType.FLOAT))
    one = ir.node("Gemm", [x, values[f"{first}.weight"], values[f"{first}.bias"]], attributes={"transB": 1})
    act = ir.node("Relu", [one.outputs[0]])
    two = ir.node("Gemm", [act.outputs[0], values["fc2.weight"], values["fc2.bias"]], attributes={"transB": 1})
    y = two.outputs[0]
    y.name, y.shape, y.type = "y", ir.Shape(["batch", 3]), ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph(
        [x], [y], nodes=[one, act, two], initializers=list(values.values()), opset_imports={"": 17}, name="toy"
    )
    return from_proto(refresh(ir.Model(graph, ir_version=9)).to_proto())


def write_run(folder: Path, *, layer: str = "fc1", data: str = "digits", upto: int | None = None) -> Journal:
    """Write the run; `upto` events of it where given."""
    start = network(layer)
    settings = EvolveSettings(data=data, epochs=None, steps=100, generations=2, branches=2, workers=1, seed=3)
    journal = Journal.create(folder, settings.to_json(), start.to_bytes())
    for event in events(layer)[:upto]:
        journal.append(event)
        if event["event"] == "trained" and event["outcome"] == "DONE":
            model = start
            for text in event["genome"]:
                model = operate(model, parse(text)).model
            (folder / "branches").mkdir(exist_ok=True)
            (folder / f"branches/{event['key']}.onnx").write_bytes(model.to_bytes())
    return journal


def events(layer: str) -> list[dict[str, Any]]:
    """All events but the first."""
    widen, insert = f"widen:{layer}=8", f"insert:{layer}"
    narrow = f"narrow:{layer}=3"
    evidence = {"activation_rank": 5, "error_without_cheapest_unit": 0.25}
    figures = {"parameters": 51, "macs": 42, "latency_ms": 0.01}
    return [
        _trained("start", [], 0, 10, [(10, 0.5)]),
        _candidates(
            0,
            "start",
            [
                ("doubled", [widen, insert], 0.2, {widen: evidence, insert: {"linearity": 0.5}}),
                ("recommended", ["remove:fc2"], 0.1, {"remove:fc2": {"linearity": 0.9}}),
                ("random", [narrow], 0.0, {}),
            ],
        ),
        _branched("g1-1", "g0/b1", "doubled", [(widen, True, 0.0, 1e-7), (insert, True, 0.0, 0.0)], 139, 120),
        _branched("g1-2", "g0/b2", "recommended", [], 51, 42, refused="it gives the model's output"),
        _branched("g1-3", "g0/b3", "random", [(narrow, False, 0.2, 0.15)], 27, 21),
        _trained("start", [], 10, 20, [(15, 0.52), (20, 0.55)]),
        _trained("g1-1", [widen, insert], 10, 20, [(20, 0.65)], parameters=139),
        _trained("g1-3", [narrow], 10, 20, [(20, 0.45)], parameters=27),
        _trained("g1-1", [widen, insert], 20, 40, [(40, 0.75)], parameters=139),
        _trained("start", [], 20, 40, [(40, 0.6)]),
        _selected(0, "g1-1", 40, ["start", "g1-1", "g1-3"]),
        _candidates(1, "g1-1", [("recommended", ["widen:fc2=9"], 0.05, {}), ("random", [narrow], 0.0, {})]),
        _branched("g2-1", "g1/b1", "recommended", [("widen:fc2=9", True, 0.0, 0.0)], 200, 150),
        _branched("g2-2", "g1/b2", "random", [(narrow, False, 0.3, 0.3)], 60, 50),
        _trained("g1-1", [widen, insert], 40, 75, [(75, 0.8)], parameters=139),
        {**_trained("g2-1", [], 40, 50, []), "outcome": "DIVERGED", "message": "at step 50", "accuracy": None},
        _trained("g2-2", [widen, insert, narrow], 40, 75, [(75, 0.78)], parameters=60),
        _selected(1, "g1-1", 75, ["g1-1", "g2-1", "g2-2"]),
        _trained("g1-1", [widen, insert], 75, 100, [(100, 0.85)], parameters=139),
        _trained("alone", [], 0, 100, [(50, 0.6), (100, 0.7)]),
        {
            "event": "tested",
            "key": "tested",
            "start": {**figures, "test_accuracy": 0.1},
            "alone": {**figures, "test_accuracy": 0.7},
            "result": {"parameters": 139, "macs": 120, "latency_ms": 0.02, "test_accuracy": 0.84},
            "paired": {
                "start": {"mean": 0.74, "interval": [0.69, 0.78], "p": 0.0, "won": 297, "lost": 1, "samples": 400},
                "alone": {"mean": 0.14, "interval": [0.104, 0.178], "p": 1e-13, "won": 60, "lost": 4, "samples": 400},
            },
            "genome": [widen, insert],
            "branch": "g1-1",
            "trunk_steps": 100,
            "samples": 400,
        },
    ]


Drawn = tuple[str, list[str], float, dict[str, dict[str, float]]]


def _candidates(generation: int, trunk: str, drawn: list[Drawn]) -> dict[str, Any]:
    keys = ("origin", "operations", "expected_gain", "evidence")
    candidates = [{**dict(zip(keys, d, strict=True)), "seed": 1, "parent": trunk} for d in drawn]
    key = f"g{generation}/candidates"
    return {
        "event": "candidates",
        "key": key,
        "generation": generation,
        "begin": (10, 40)[generation],
        "parents": [trunk],
        "candidates": candidates,
        "compute": 1000,
    }


def _branched(
    name: str,
    key: str,
    origin: str,
    done: list[tuple[str, bool, float, float]],
    parameters: int,
    macs: int,
    refused: str = "",
) -> dict[str, Any]:
    keys = ("operation", "exact", "predicted_error", "measured_error")
    return {
        "event": "branched",
        "key": key,
        "branch": name,
        "parent": PARENTS[name],
        "origin": origin,
        "expected_gain": 0.0,
        "evidence": {},
        "records": [{**dict(zip(keys, d, strict=True)), "reason": "because"} for d in done],
        "refused": refused,
        "parameters": parameters,
        "macs": macs,
        "compute": 100,
    }


def _trained(
    branch: str, genome: list[str], begin: int, end: int, points: list[tuple[int, float]], parameters: int = 51
) -> dict[str, Any]:
    return {
        "event": "trained",
        "key": f"{branch}@{end}",
        "branch": branch,
        "parent": PARENTS.get(branch),
        "origin": "start",
        "genome": genome,
        "from": begin,
        "until": end,
        "outcome": "DONE",
        "message": "",
        "steps": end - begin,
        "seconds": (end - begin) / 10,
        "history": [[step, 1.0, 1.1, accuracy] for step, accuracy in points],
        "accuracy": points[-1][1] if points else None,
        "loss": 1.1,
        "latency": 0.0,
        "parameters": parameters,
        "macs": 42,
        "compute": (end - begin) * 1000,
    }


def _selected(generation: int, winner: str, until: int, branches: list[str]) -> dict[str, Any]:
    return {
        "event": "selected",
        "key": f"g{generation}/selected",
        "generation": generation,
        "winner": winner,
        "survivors": [winner],
        "until": until,
        "branches": branches,
    }
