"""One graph, everything that can be done with it, and what was wrong."""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

import pysurgeon as ps
from benchmarks.graphs.judge import Arrays, Judge, apart, moved
from benchmarks.graphs.whole import Whole, written
from pysurgeon.errors import Refused, SurgeonError

# Batch, open sizes, and how large the input is. A file need not take all of them.
SETTINGS: tuple[tuple[int, dict[str, int], float], ...] = (
    (1, {"T": 4, "H": 8, "W": 12}, 1.0),
    (3, {"T": 7, "H": 13, "W": 9}, 0.01),
    (2, {"T": 1, "H": 16, "W": 16}, 30.0),
)
# What is exact differs by so much, or by so many times what comes of half a unit in the last place of the input, at most.
EXACT, ROUNDINGS, LARGEST_ROUNDING = 1e-5, 20, 1e-2

# Predictions are made from 64 samples and measured on 16 others. The root mean square of 16 is within a factor of two of that of many, but for
# heavy tails; four leaves room for those, and the absolute term for what is predicted to be nothing.
FACTOR, FLOOR = 4.0, 0.05

LENGTH = 10  # operations one after another


@dataclass
class Verdict:
    """How a graph fared.

    Attributes:
        number: Of the graph.
        counts: What was done, by kind and how it ended.
        faults: Kind and what happened.
        errors: Of what is not exact: predicted, and measured on other samples.
    """

    number: int
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[str, str]] = field(default_factory=list)
    errors: list[tuple[str, float, float]] = field(default_factory=list)

    def fault(self, kind: str, detail: object) -> None:
        """Note that something was wrong."""
        self.faults.append((kind, " ".join(str(detail).split())[:600]))


@dataclass(frozen=True, eq=False)
class Expected:
    """What a file computes at the settings that it takes: input, output, and what may be rounding."""

    trials: list[tuple[Arrays, Arrays, float]]

    @classmethod
    def of(cls, whole: Whole) -> Expected:
        """Ask the file."""
        judge, trials = Judge(whole.proto.SerializeToString()), []
        for seed, (batch, sizes, scale) in enumerate(SETTINGS):
            feeds = whole.feeds(batch, sizes, scale, seed)
            with contextlib.suppress(Exception):  # the engine's errors have no common type
                outputs = judge.run(feeds)
                if not all(np.isfinite(a).all() for a in outputs.values()):
                    continue
                rounding = max(apart(outputs, judge.run(moved(feeds, k))) for k in range(2))
                trials.append((feeds, outputs, max(EXACT, min(LARGEST_ROUNDING, ROUNDINGS * rounding))))
        return cls(trials)

    def against(self, content: bytes) -> tuple[str, Expected]:
        """What differs in another file beyond rounding, empty if nothing does; and what that one computes."""
        judge, found, trials = Judge(content), "", []
        for feeds, outputs, granted in self.trials:
            got = judge.run(feeds)
            error = apart(outputs, got)
            if not error <= granted:
                shapes = {n: a.shape for n, a in feeds.items()}
                found = found or f"differs by {error:.3g} of {granted:.3g} at {shapes}"
            trials.append((feeds, got, granted))
        return found, Expected(trials)

    def misfit(self, content: bytes) -> tuple[str, Expected]:
        """What of another file's outputs is not finite or of another shape, empty if nothing is; and what it computes."""
        judge, found, trials = Judge(content), "", []
        for feeds, outputs, granted in self.trials:
            got = judge.run(feeds)
            for name, a in outputs.items():
                if name not in got or a.shape != got[name].shape or not np.isfinite(got[name]).all():
                    found = f"output {name!r} is {getattr(got.get(name), 'shape', None)} or not finite"
            trials.append((feeds, got, granted))
        return found, Expected(trials)


def judged(seed: int, number: int, most: int = 12) -> Verdict:
    """Make a graph and do with it whatever is offered, at so many sites at most."""
    verdict = Verdict(number)
    whole, rng = written(seed, number), random.Random(f"judged {seed} {number}")  # noqa: S311
    expected = Expected.of(whole)
    if not expected.trials:
        verdict.counts["takes no input that was tried"] += 1
        return verdict
    loaded = _loaded(whole, expected, verdict)
    if loaded is None:
        return verdict
    model, proto = loaded
    offers = _offers(model, rng, verdict)
    for operation, promised in rng.sample(offers, min(most, len(offers)) if most else len(offers)):
        _one(model, operation, promised, expected, proto, verdict)
    _several(model, expected, proto, rng, verdict)
    return verdict


def _loaded(whole: Whole, expected: Expected, verdict: Verdict) -> tuple[ps.Model, ModelProto] | None:
    """Load and save; the model, and what was written."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source.onnx", Path(folder) / "target.onnx"
        source.write_bytes(whole.proto.SerializeToString())
        try:
            model = ps.load(source)
            ps.save(model, target)
        except SurgeonError as error:
            verdict.fault(f"a valid file is refused ({type(error).__name__})", error)
            return None
        except Exception as error:  # noqa: BLE001 (what is looked for)
            verdict.fault("exception in load or save", _traced(error))
            return None
        content = target.read_bytes()
    verdict.counts["loaded"] += 1
    saved = onnx.load_model_from_string(content)
    _outside(whole.proto, saved, "load and save", verdict, declared=False)
    try:
        wrong, _ = expected.against(content)
    except Exception as error:  # noqa: BLE001 (the engine's errors have no common type)
        wrong = f"does not run: {error}"
    if wrong:
        verdict.fault("load and save change the function", wrong)
    return model, saved


def _outside(before: ModelProto, after: ModelProto, what: str, verdict: Verdict, *, declared: bool = True) -> None:
    """Names, types and shapes of what goes in and out, metadata and versions are those of the file.

    Where a file is loaded, outputs are declared with the sizes that are computed, and weights are no inputs any more.
    """
    given = {t.name for t in before.graph.initializer}
    fed = [p for p in before.graph.input if p.name not in given]
    versions = before.ir_version if declared or len(fed) == len(before.graph.input) else max(4, before.ir_version)
    pairs: list[tuple[str, Any, Any]] = [
        ("inputs", [_port(p) for p in fed], [_port(p) for p in after.graph.input]),
        ("outputs", *([_port(p)[:2] for p in m.graph.output] for m in (before, after))),
        ("graph", before.graph.name, after.graph.name),
        ("opset", _standard(before), _standard(after)),
        ("metadata", _entries(before), _entries(after)),
        ("ir_version", versions, after.ir_version),
        *((k, getattr(before, k), getattr(after, k)) for k in ("producer_name", "model_version", "doc_string")),
        ("graph's doc_string", before.graph.doc_string, after.graph.doc_string),
    ]
    for p, q in zip(before.graph.output, after.graph.output, strict=False) if declared else ():
        known = [a if isinstance(a, int) else b for a, b in zip(_port(p)[2], _port(q)[2], strict=False)]
        pairs.append(("sizes of outputs", known, _port(q)[2]))
    for name, a, b in pairs:
        if a != b:
            verdict.fault(f"{name} did not survive", f"{what}: {a} became {b}")
    try:
        onnx.checker.check_model(after, full_check=True)
    except Exception as error:  # noqa: BLE001 (of several types)
        verdict.fault("the checker refuses the result", f"{what}: {error}")


def _port(port: onnx.ValueInfoProto) -> tuple[str, int, list[int | str]]:
    kind = port.type.tensor_type
    return port.name, kind.elem_type, [d.dim_value if d.HasField("dim_value") else d.dim_param for d in kind.shape.dim]


def _standard(model: ModelProto) -> int:
    return next(o.version for o in model.opset_import if o.domain == "")


def _entries(model: ModelProto) -> dict[str, str]:
    return {e.key: e.value for e in model.metadata_props}


def _offers(model: ps.Model, rng: random.Random, verdict: Verdict) -> list[tuple[str, bool]]:
    """Operations, and whether `inspect` promises them."""
    try:
        found = ps.inspect(model)
    except Exception as error:  # noqa: BLE001 (what is looked for)
        verdict.fault("exception in inspect", _traced(error))
        return []
    offers = []
    for width in found.widths:
        if width.resizable:
            offers.append((f"widen:{width.name}={width.size + rng.randint(1, 3)}", width.exact))
            offers.append((f"widen:{width.name}={2 * width.size}", width.exact))
            if width.size > 1:
                offers.append((f"narrow:{width.name}={rng.randint(1, width.size - 1)}", True))
    for layer in found.layers:
        offers += [(f"insert:{layer.name}", True)] * layer.insertable + [
            (f"remove:{layer.name}", True)
        ] * layer.removable
        offers += [(f"factorize:{layer.name}=1", True)] * layer.factorizable + [(f"bypass:{layer.name}", False)]
    return offers


def _done(model: ps.Model, operation: str, promised: bool, verdict: Verdict) -> Any:
    """The result of an operation, `None` where there is none."""
    kind = operation.partition(":")[0]
    try:
        result = ps.apply(model, operation)
    except Refused as refusal:
        verdict.counts[f"{kind} refused"] += 1
        if promised:
            verdict.fault("promised and refused", f"{operation}: {refusal}")
    except SurgeonError as error:
        verdict.fault(f"{type(error).__name__} in {kind}", f"{operation}: {error}")
    except Exception as error:  # noqa: BLE001 (what is looked for)
        verdict.fault(f"exception in {kind}", f"{operation}: {_traced(error)}")
    else:
        verdict.counts[kind] += 1
        return result
    return None


def _one(
    model: ps.Model, operation: str, promised: bool, expected: Expected, proto: ModelProto, verdict: Verdict
) -> None:
    """Do one operation and take it back."""
    result = _done(model, operation, promised, verdict)
    if result is None:
        return
    _judged(result, operation, expected, proto, verdict)
    record = result.operations[0]
    if record.undo and record.exact:
        back = _done(result.model, record.undo, True, verdict)
        if back is not None:
            _compared(back.model.to_bytes(), f"{operation}, {record.undo}", expected, "undo", verdict)


def _judged(result: Any, operation: str, expected: Expected, proto: ModelProto, verdict: Verdict) -> Expected | None:
    """See that a result is what was said of it. What it computes, `None` if it is not what it should be."""
    record, content = result.operations[0], result.model.to_bytes()
    _outside(proto, onnx.load_model_from_string(content), operation, verdict)
    if record.exact:
        return _compared(content, operation, expected, record.operation.partition(":")[0], verdict)
    if record.site_error is not None:
        verdict.errors.append((operation.partition(":")[0], record.predicted_error, record.site_error))
        if record.site_error > FACTOR * record.predicted_error + FLOOR:
            said = f"{operation}: {record.predicted_error:.3g} predicted, {record.site_error:.3g} measured"
            verdict.fault("worse than predicted", said)
    try:
        wrong, now = expected.misfit(content)
    except Exception as error:  # noqa: BLE001 (the engine's errors have no common type)
        verdict.fault("the result does not run", f"{operation}: {error}")
        return None
    if wrong:
        verdict.fault("outputs of other shapes, or not finite", f"{operation}: {wrong}")
    return None if wrong else now


def _compared(content: bytes, what: str, expected: Expected, kind: str, verdict: Verdict) -> Expected | None:
    try:
        wrong, now = expected.against(content)
    except Exception as error:  # noqa: BLE001 (the engine's errors have no common type)
        verdict.fault("the result does not run", f"{what}: {error}")
        return None
    if wrong:
        verdict.fault(f"{kind} changes the function", f"{what} {wrong}")
    return None if wrong else now


def _several(model: ps.Model, expected: Expected, proto: ModelProto, rng: random.Random, verdict: Verdict) -> None:
    """Ten operations, each on the result of the one before."""
    said: list[str] = []
    for _ in range(LENGTH):
        offers = [o for o in _offers(model, rng, verdict) if o[1]]
        if not offers:
            return
        operation, _ = rng.choice(offers)
        result = _done(model, operation, True, verdict)
        said.append(operation)
        if result is None:
            continue
        now = _judged(result, " ".join(said), expected, proto, verdict)
        if now is None:
            return
        model, expected = result.model, now
    verdict.counts["ten operations"] += 1


def _traced(error: BaseException) -> str:
    """An exception with where it came from."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)[-3:]
    where = " < ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in reversed(frames))
    return f"{type(error).__name__} at {where}: {error}"
