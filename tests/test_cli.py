"""The command line: what goes to stdout, what to stderr, and the exit status, for right and for wrong input."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import models
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image
from starts import cnn, mlp, text_model

from pysurgeon import errors
from pysurgeon.cli import main

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Done:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        assert self.status == 0, self.err
        found: dict[str, Any] = json.loads(self.out)
        return found


Command = Callable[..., Done]


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYSURGEON_TRACEBACK", raising=False)
    monkeypatch.setenv("PYSURGEON_DATA", str(tmp_path / "no data"))
    monkeypatch.setenv("COLUMNS", "80")
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in this process."""

    def run(*arguments: object) -> Done:
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            main([str(a) for a in arguments])
        captured = capfd.readouterr()
        status = caught.value.code
        assert isinstance(status, int)
        assert "Traceback" not in captured.out + captured.err
        return Done(status, captured.out, captured.err)

    return run


def put(path: Path, proto: onnx.ModelProto) -> Path:
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.fixture
def start(tmp_path: Path) -> Path:
    return put(tmp_path / "start.onnx", mlp((6,)))


QUICK = ("--data", "digits", "--limit", "300", "--steps", "20", "--batch-size", "32")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A run that others only look at, and what the command that made it printed."""
    folder = tmp_path_factory.mktemp("cli")
    start = put(folder / "start.onnx", mlp((6,)))
    arguments = ["evolve", start, *QUICK, "--generations", "1", "--branches", "1", "--workers", "1", "--json"]
    done = shell(*arguments, "--run", folder / "run", "-o", folder / "better.onnx")
    assert done.status == 0, done.err
    return folder, done


def shell(*arguments: object, **environment: str) -> Done:
    """Runs a command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "pysurgeon", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    return Done(done.returncode, done.stdout, done.stderr)


# --- what is printed ----------------------------------------------------------------------------------------------------


def test_inspect(command: Command, tmp_path: Path) -> None:
    found = command("inspect", put(tmp_path / "cnn.onnx", cnn()), "--json").document
    assert set(found) == {"model", "widths", "layers"}
    assert found["model"]["parameters"] == 448
    assert found["model"]["opset"] == 17
    assert found["model"]["inputs"] == [{"name": "x", "shape": [None, 1, 8, 8], "dtype": "float32"}]
    assert set(found["model"]) == {"parameters", "macs", "opset", "ir_version", "inputs", "outputs", "not_finite"}
    keys = {"name", "size", "multiple", "resizable", "exact", "reason", "writers", "readers"}
    assert [set(w) for w in found["widths"]] == [keys] * 3
    assert {w["name"]: w["resizable"] for w in found["widths"]} == {"conv1": True, "conv2": True, "head": False}
    assert {w["name"]: bool(w["reason"]) for w in found["widths"]} == {"conv1": False, "conv2": False, "head": True}
    keys = {"name", "operator", "parameters", "macs", "insertable", "removable", "factorizable", "reason"}
    assert [set(x) for x in found["layers"]] == [keys] * 3
    readable = command("inspect", tmp_path / "cnn.onnx")
    for word in ("448 parameters", "conv1", "head", "graph output 'y'"):
        assert word in readable.out
    assert readable.err == ""


def test_doctor(command: Command, tmp_path: Path) -> None:
    path = put(tmp_path / "cnn.onnx", cnn())
    found = command("doctor", path, "--json").document
    assert found["trains"] is True
    assert [n["operator"] for n in found["nodes"]] == ["Conv", "Relu", "Conv", "Relu", "MaxPool", "Flatten", "Gemm"]
    assert "conv1.weight" in command("doctor", path).out


def test_doctor_tries_the_data(command: Command, start: Path) -> None:
    found = command("doctor", start, "--data", "digits")
    assert "engine takes it" in found.out
    assert "outputs in this order: 0, 1, 2" in found.out
    accuracy = command("doctor", start, "--data", "digits", "--json").document["validation_accuracy"]
    assert f"as it is: validation accuracy {accuracy:.2%}" in found.out


def test_doctor_knows_both_engines(command: Command, tmp_path: Path) -> None:
    lines = ["h = Atan (x)", "f = Flatten (h)", "z = MatMul (f, w)", "y = Atan (z)"]
    path = tmp_path / "arcs.onnx"
    onnx.save(text_model("m (float[N, 1, 8, 8] x) => (float[N, 10] y)", lines, {"w": np.ones((64, 10))}), path)
    found = [command("doctor", path, "--trainer", name, "--json").document for name in ("ort", "torch")]
    assert [f["trains"] for f in found] == [False, True]
    assert command("doctor", path, "--trainer", "torch", "--data", "digits").status == 0
    assert command("train", path, *QUICK, "-o", tmp_path / "a.onnx").status == 1
    assert command("train", path, *QUICK, "--trainer", "torch", "-o", tmp_path / "a.onnx").status == 0


def test_both_engines_train_and_evolve(command: Command, start: Path, tmp_path: Path) -> None:
    found, runs = [], []
    for name in ("ort", "torch"):
        options = (*QUICK, "--trainer", name)
        found.append(command("train", start, *options, "-o", tmp_path / f"{name}.onnx", "--json").document)
        run = tmp_path / name
        arguments = ("--generations", "1", "--branches", "1", "--workers", "1", "--run", run, "--json")
        runs.append(command("evolve", start, *options, *arguments).document)
        assert json.loads((run / "lineage.jsonl").read_text().splitlines()[0])["settings"]["trainer"] == name
        assert ("--trainer torch" in (run / "report.html").read_text()) == (name == "torch")
    assert found[0]["validation_accuracy"] == pytest.approx(found[1]["validation_accuracy"], abs=0.05)
    assert runs[0]["steps"] == runs[1]["steps"]
    assert runs[1]["result"]["test_accuracy"] > 0.1


def test_recommend(command: Command, start: Path) -> None:
    found = command("recommend", start, "--data", "digits", "--limit", "300", "--json").document
    assert 0 <= found["validation_accuracy"] <= 1
    assert found["metric"] == "accuracy"
    found = found["recommendations"]
    assert found
    for row in found:
        assert {"operation", "site", "size", "expected_gain", "parameters", "macs", "evidence"} <= set(row)
    readable = command("recommend", start, "--data", "digits", "--limit", "300", "--top", "1")
    assert found[0]["operation"] in readable.out
    assert found[1]["operation"] not in readable.out
    assert "validation accuracy" in readable.err


def test_recommended_operations_can_be_applied(command: Command, start: Path) -> None:
    for row in command("recommend", start, "--data", "digits", "--json").document["recommendations"]:
        done = command("apply", start, row["operation"], "--data", "digits", "--json").document
        change = {key: done["after"][key] - done["before"][key] for key in ("parameters", "macs")}
        assert change == {"parameters": row["parameters"], "macs": row["macs"]}


def test_apply(command: Command, start: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.onnx"
    before = start.read_bytes()
    found = command("apply", start, "widen:fc1=9", "insert:fc1", "narrow:fc1.next=8", "-o", out, "--json").document
    assert set(found) == {"operations", "before", "after", "output"}
    assert found["output"] == str(out)
    keys = {"operation", "site", "exact", "predicted_error", "site_error", "measured_error", "reason"}
    assert [set(o) for o in found["operations"]] == [keys] * 3
    assert [o["operation"] for o in found["operations"]] == ["widen:fc1=9", "insert:fc1", "narrow:fc1.next=8"]
    assert [o["exact"] for o in found["operations"]] == [True, True, False]
    assert max(o["measured_error"] for o in found["operations"][:2]) < 1e-5
    onnx.checker.check_model(str(out), full_check=True)
    inspected = command("inspect", out, "--json").document["model"]
    assert found["after"] == {"parameters": inspected["parameters"], "macs": inspected["macs"]}
    assert start.read_bytes() == before


def test_apply_without_output_writes_nothing(command: Command, start: Path, tmp_path: Path) -> None:
    done = command("apply", start, "widen:fc1=9")
    assert "widen:fc1=9" in done.out
    assert "dry run" in done.err
    assert "generated input" not in done.out + done.err
    fitted = command("apply", start, "narrow:fc1=4")
    for part in (fitted.out, fitted.err):
        assert "to generated input" in " ".join(part.split())
        assert "--data" in part
    fitted = command("apply", start, "narrow:fc1=4", "--data", "digits")
    assert "generated" not in fitted.out + fitted.err
    assert list(tmp_path.iterdir()) == [start]


def test_train(command: Command, start: Path, tmp_path: Path) -> None:
    out = tmp_path / "trained.onnx"
    found = command("train", start, *QUICK, "-o", out, "--json").document
    assert set(found) == {"epochs", "steps", "validation_accuracy", "test_accuracy", "metric", "seconds", "output"}
    assert (found["steps"], found["output"]) == (20, str(out))
    onnx.checker.check_model(str(out), full_check=True)
    assert out.read_bytes() != start.read_bytes()
    compared = command("compare", start, out, "--data", "digits", "--json").document
    assert compared["b"]["accuracy"] == found["test_accuracy"]


def test_evolve(finished: tuple[Path, Done], command: Command) -> None:
    folder, done = finished
    found = done.document
    assert {"parameters", "macs", "test_accuracy"} <= set(found["start"])
    assert {"parameters", "macs", "test_accuracy", "latency_ms"} <= set(found["result"])
    assert set(found["steps"]) == {"trunk", "all_branches"}
    assert found["steps"]["trunk"] == 20
    assert found["run"] == str(folder / "run")
    assert found["output"] == str(folder / "better.onnx")
    assert all(isinstance(text, str) for text in found["genome"])
    assert (folder / "better.onnx").read_bytes() == (folder / "run/result.onnx").read_bytes()
    inspected = command("inspect", folder / "better.onnx", "--json").document["model"]
    assert inspected["parameters"] == found["result"]["parameters"]
    assert (folder / "run/report.html").read_text().lstrip().lower().startswith("<!doctype html>")
    assert "generation 1 of 1" in done.err


def test_resume_of_a_finished_run_says_the_same(finished: tuple[Path, Done], command: Command) -> None:
    folder, done = finished
    lineage = (folder / "run/lineage.jsonl").read_bytes()
    again = command("resume", folder / "run", "--json").document
    assert {**again, "output": None} == {**done.document, "output": None}
    assert (folder / "run/lineage.jsonl").read_bytes() == lineage
    readable = command("resume", folder / "run").out
    assert "parameters" in readable.lower()
    assert "confidence intervals" in readable


def test_a_run_is_resumed_where_its_data_is_found(command: Command, start: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", x_train=IMAGES, y_train=LABELS)
    quick = ("--data", "mine.npz", "--steps", "4", "--generations", "0", "--workers", "1")
    assert command("evolve", start, *quick, "--run", "run").status == 0
    assert command("resume", "run").status == 0
    (tmp_path / "mine.npz").rename(tmp_path / "else.npz")
    complains(command("resume", "run"), 1, "mine.npz is missing", "with --data mine.npz, so go on in the folder where")


def test_report(finished: tuple[Path, Done], command: Command, tmp_path: Path) -> None:
    folder, _ = finished
    page = tmp_path / "page.html"
    assert command("report", folder / "run", "-o", page, "--json").document == {"report": str(page)}
    assert command("report", folder / "run", "-o", page).status == 1
    assert command("report", folder / "run", "-o", page, "--force").out.strip() == str(page)


def test_report_of_a_run_that_has_not_ended(finished: tuple[Path, Done], command: Command, tmp_path: Path) -> None:
    folder, _ = finished
    shutil.copytree(folder / "run", tmp_path / "run")
    lines = (tmp_path / "run/lineage.jsonl").read_bytes().splitlines(keepends=True)
    for kept in range(1, len(lines)):
        (tmp_path / "run/lineage.jsonl").write_bytes(b"".join(lines[:kept]))
        done = command("report", tmp_path / "run", "-o", tmp_path / "page.html", "--force")
        assert done.status == 0, (kept, done.err)


def test_compare(command: Command, start: Path, tmp_path: Path) -> None:
    command("apply", start, "widen:fc1=9", "-o", tmp_path / "wide.onnx")
    found = command("compare", start, tmp_path / "wide.onnx", "--json").document
    assert set(found) == {"max_error", "a", "b", "metric"}
    assert set(found["a"]) == set(found["b"]) == {"accuracy", "parameters", "macs", "latency_ms"}
    assert found["max_error"] < 1e-5
    assert found["a"]["accuracy"] is None
    assert found["b"]["parameters"] > found["a"]["parameters"]
    readable = command("compare", start, tmp_path / "wide.onnx").out
    assert readable.split()[:3] == ["start.onnx", "wide.onnx", "Change"]
    assert "Parameters" in readable
    (tmp_path / "other").mkdir()
    again = shutil.copy(start, tmp_path / "other")
    assert command("compare", start, again).out.split()[:3] == ["A", "B", "Change"]


def test_numbers_that_json_has_no_word_for_are_null(command: Command, start: Path, tmp_path: Path) -> None:
    other = put(tmp_path / "seven.onnx", mlp((6,), classes=7))
    assert command("compare", start, other, "--json").document["max_error"] is None


def test_names_are_never_cut(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"backbone.stages.3.blocks.{k}.attention.{'projection.' * 6}of_the_values" for k in (10, 11)]
    proto = mlp((6, 6))
    for graph in (proto.graph.initializer, proto.graph.node):
        for item in graph:
            for k, name in enumerate(names, start=1):
                if isinstance(item, onnx.TensorProto):
                    item.name = item.name.replace(f"fc{k}.", f"{name}.")
                else:
                    item.input[:] = [x.replace(f"fc{k}.", f"{name}.") for x in item.input]
    path = put(tmp_path / "long.onnx", proto)
    for columns in ("80", "160"):
        # The consoles of the package keep what they are told; a command of its own asks the environment.
        monkeypatch.setenv("COLUMNS", columns)
        inspected = command("inspect", path).out
        applied = command("apply", path, f"widen:{names[0]}=9").out
        trains = command("doctor", path).out
        assert "…" not in inspected + applied + trains
        assert f"widen:{names[0]}=9" in applied
        for name in names:
            assert name in inspected
        # What is said about a node may be folded; nothing of it is missing.
        assert f"{names[0]}.weight" in "".join(trains.split())


def test_version_and_help(command: Command) -> None:
    import pysurgeon

    assert command("--version").out.strip() == pysurgeon.__version__
    overview = command("--help").out
    names = ("inspect", "doctor", "recommend", "apply", "train", "evolve", "resume", "report", "compare")
    for name in names:
        assert name in overview
        assert "--json" in command(name, "-h").out


def test_a_terminal_without_unicode_is_served(start: Path) -> None:
    done = shell("inspect", start, PYTHONIOENCODING="ascii", LC_ALL="C")
    assert done.status == 0, done.err
    assert "fc1" in done.out


def test_a_reader_that_leaves_early_is_no_fault(start: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "pysurgeon", "inspect", str(start), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        words = process.stderr.read().decode()
        process.wait(60)
    assert "Traceback" not in words


# --- models that cannot be used -----------------------------------------------------------------------------------------


def _text(path: Path) -> None:
    path.write_text("not a network\n" * 20)


def _png(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + np.random.default_rng(0).bytes(300))


def _truncated(path: Path) -> None:
    content = mlp((6,)).SerializeToString()
    path.write_bytes(content[: len(content) // 2])


WRONG_FILES: dict[str, Callable[[Path], object]] = {
    "text": _text,
    "image": _png,
    "empty": Path.touch,
    "truncated": _truncated,
    "folder": Path.mkdir,
    "missing": lambda _: None,
}


@pytest.mark.parametrize("what", WRONG_FILES)
@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "M", "--json"),
        ("doctor", "M", "--json"),
        ("recommend", "M", "--data", "digits", "--json"),
        ("apply", "M", "widen:fc1=8", "--json"),
        ("train", "M", "--data", "digits", "-o", "out.onnx", "--json"),
        ("evolve", "M", "--data", "digits", "--run", "run", "--json"),
        ("compare", "M", "M", "--json"),
    ],
    ids=lambda a: a[0],
)
def test_what_is_no_model_is_refused(command: Command, tmp_path: Path, what: str, arguments: tuple[str, ...]) -> None:
    path = tmp_path / "wrong.onnx"
    WRONG_FILES[what](path)
    before = sorted(tmp_path.iterdir())
    done = command(*(str(path) if a == "M" else a for a in arguments))
    complains(done, 1, "wrong.onnx", as_json=True)
    assert sorted(tmp_path.iterdir()) == before


def complains(done: Done, status: int, *words: str, as_json: bool = False) -> None:
    """One sentence on stderr that holds these words, nothing on stdout but with `--json` the same, and this exit status."""
    assert done.status == status, done.err
    last = done.err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    if as_json:
        said = json.loads(done.out)["error"]
        assert said["message"] == last.removeprefix("error: ")
        assert issubclass(getattr(errors, said["type"]), errors.SurgeonError)
    else:
        assert done.out == ""
    for word in words:
        assert word in last, last


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_model_that_may_not_be_read(command: Command, start: Path) -> None:
    start.chmod(0)
    complains(command("inspect", start), 1, "start.onnx")
    start.chmod(stat.S_IRUSR | stat.S_IWUSR)


def operator(name: str) -> onnx.ModelProto:
    """A network for the digits with an operator of a domain that nobody knows, or with one without a gradient."""
    if name == "Mystery":
        return models.build("custom_domain")
    return models.build("unknown_operator")


@pytest.mark.parametrize("name", ["Mystery", "Normalizer"])
def test_an_operator_that_is_not_known_is_named(command: Command, tmp_path: Path, name: str) -> None:
    path = put(tmp_path / "strange.onnx", operator(name))
    found = command("inspect", path, "--json").document
    frozen = [w for w in found["widths"] if not w["resizable"]]
    assert any(name in w["reason"] for w in frozen)
    diagnosis = command("doctor", path, "--json").document
    assert diagnosis["trains"] is False
    assert name in diagnosis["verdict"]
    rows = np.random.default_rng(0).standard_normal((60, 3)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x_train=rows, y_train=np.arange(60) % 2)
    for arguments in (("train", path, "-o", "out.onnx"), ("evolve", path, "--run", "run")):
        complains(command(*arguments, "--data", tmp_path / "rows.npz", "--steps", "2"), 1, name)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "out.onnx").exists()


def test_a_new_operator_set_trains(command: Command, tmp_path: Path) -> None:
    proto = mlp((6,))
    proto.opset_import[0].version = 24
    path = put(tmp_path / "new.onnx", proto)
    assert command("inspect", path, "--json").document["model"]["opset"] == 24
    assert command("train", path, *QUICK, "-o", "out.onnx", "--json").document["steps"] == 20
    trained = onnx.load(tmp_path / "out.onnx")
    assert trained.opset_import[0].version == 24
    assert [n.op_type for n in trained.graph.node] == [n.op_type for n in proto.graph.node]


def test_two_inputs_are_named(command: Command, tmp_path: Path) -> None:
    lines = ["a = Add (x, z)", "b = Flatten (a)", "y = MatMul (b, w)"]
    signature = "two (float[N, 1, 8, 8] x, float[N, 1, 8, 8] z) => (float[N, 10] y)"
    path = put(tmp_path / "two.onnx", text_model(signature, lines, {"w": np.ones((64, 10))}))
    assert len(command("inspect", path, "--json").document["model"]["inputs"]) == 2
    for arguments in (("train", path, "-o", "out.onnx"), ("evolve", path), ("recommend", path)):
        complains(command(*arguments, "--data", "digits"), 1, "2 inputs (x, z)")


def test_weights_that_are_not_finite_are_named(command: Command, tmp_path: Path) -> None:
    proto = mlp((6,))
    tensor = proto.graph.initializer[0]
    array = np.array(numpy_helper.to_array(tensor))
    array[0, 0] = np.nan
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    path = put(tmp_path / "nan.onnx", proto)
    said = ("'fc1.weight' (1 of 384)", "not a number")
    assert command("inspect", path, "--json").document["model"]["not_finite"] == {"fc1.weight": 1}
    checked = command("doctor", path, "--json").document
    assert checked["trains"] is False
    for name in said:
        assert name in checked["verdict"]
        assert name in command("inspect", path).out
        assert name in command("doctor", path).out
    complains(command("recommend", path, "--data", "digits"), 1, "fc1", "finite")
    for operation in ("widen:fc1=8", "narrow:fc1=4"):
        complains(command("apply", path, operation), 1, *said)
    complains(command("train", path, *QUICK, "-o", "out.onnx"), 1, *said)
    complains(command("evolve", path, *QUICK, "--run", "run"), 1, *said)
    assert not (tmp_path / "run").exists()


# --- data that cannot be used -------------------------------------------------------------------------------------------


def test_data_of_another_shape_is_told_with_both_shapes(command: Command, start: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x_train=np.ones((60, 5), np.float32), y_train=np.arange(60) % 10)
    for arguments in (("recommend", start), ("evolve", start, "--run", "run"), ("train", start, "-o", "out.onnx")):
        complains(command(*arguments, "--data", tmp_path / "rows.npz"), 1, "(5,)", "(any, 1, 8, 8)")
    assert not (tmp_path / "run").exists()


def test_another_number_of_classes_is_told(command: Command, tmp_path: Path) -> None:
    path = put(tmp_path / "seven.onnx", mlp((6,), classes=7))
    complains(command("recommend", path, "--data", "digits"), 1, "10 classes", "7")


@pytest.mark.parametrize("name", ["cifar", "Digits", "", "digits "])
def test_an_unknown_data_set_lists_the_known_ones(command: Command, start: Path, name: str) -> None:
    known = (
        "digits",
        "mnist",
        "fashion-mnist",
        "cifar10",
        "cifar100",
        "svhn",
        "folder:DIR",
        "FILE.npz",
        "module:function",
    )
    complains(command("recommend", start, "--data", name), 1, *known)


IMAGES = np.random.default_rng(0).random((60, 1, 8, 8)).astype(np.float32)
LABELS = np.arange(60) % 10
HOLED = np.where(np.arange(IMAGES.size).reshape(IMAGES.shape) == 200, np.nan, IMAGES)

WRONG_ARRAYS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "beyond": ({"x_train": IMAGES, "y_train": LABELS, "x_val": IMAGES, "y_val": LABELS + 4}, ("label 10", "0..9")),
    "negative": ({"x_train": IMAGES, "y_train": LABELS - 1}, ("label -1",)),
    "far": ({"x_train": IMAGES, "y_train": LABELS * 10**6}, ("number the classes from 0",)),
    "fractions": ({"x_train": IMAGES, "y_train": LABELS + 0.5}, ("numbers to predict", "(batch)")),
    "words": ({"x_train": IMAGES, "y_train": LABELS.astype(str)}, ("class numbers", "numpy.unique")),
    "one-hot": ({"x_train": IMAGES, "y_train": np.eye(10)[LABELS]}, ("argmax",)),
    "holes": ({"x_train": HOLED, "y_train": LABELS}, ("nan", "index 3")),
    "infinite": ({"x_train": np.full_like(IMAGES, np.inf), "y_train": LABELS}, ("inf",)),
    "keys": ({"images": IMAGES, "labels": LABELS}, ("x_train", "images")),
    "half": ({"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES}, ("x_test", "y_test")),
    "lengths": ({"x_train": IMAGES, "y_train": LABELS[:50]}, ("60", "50")),
    "nothing": ({}, ("x_train",)),
    "none": ({"x_train": IMAGES[:0], "y_train": LABELS[:0]}, ("0 samples",)),
    "single": ({"x_train": IMAGES, "y_train": LABELS * 0}, ("1 class",)),
}


@pytest.mark.parametrize("what", WRONG_ARRAYS)
def test_arrays_that_cannot_be_used_are_refused(command: Command, start: Path, tmp_path: Path, what: str) -> None:
    arrays, words = WRONG_ARRAYS[what]
    np.savez(tmp_path / "data.npz", **arrays)
    complains(command("recommend", start, "--data", tmp_path / "data.npz"), 1, *words)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04" + bytes(50)])
def test_an_archive_that_is_none_is_refused(command: Command, start: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.npz").write_bytes(content)
    complains(command("recommend", start, "--data", tmp_path / "data.npz"), 1, "data.npz", "numpy.savez")


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("missing.npz", "missing.npz is missing"),
        ("folder:missing", "missing is no folder"),
        ("no_such_module:function", "no_such_module"),
        ("os:getcwd", "mapping"),
        ("mnist", "train-images-idx3-ubyte"),
    ],
)
def test_data_that_is_not_there_is_told(
    command: Command, start: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, word: str
) -> None:
    import socket

    def offline(*_: object, **__: object) -> None:
        message = "no network here"
        raise OSError(message)

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    monkeypatch.setenv("PYSURGEON_DATA", str(tmp_path))
    complains(command("recommend", start, "--data", name), 1, word)


def test_arrays_of_other_names_are_to_be_renamed(command: Command, start: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", X=IMAGES, Y=LABELS)
    complains(command("recommend", start, "--data", tmp_path / "data.npz"), 1, "has X, Y", "the samples x_train")


def test_photos_of_many_sizes(command: Command, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for label, k in itertools.product(range(10), range(8)):
        path = tmp_path / "photos" / str(label) / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, rng.integers(5, 30, 2), np.uint8)).save(path)
    start, data = put(tmp_path / "start.onnx", cnn()), ("--data", "folder:photos")
    note = "1x8x8 uint8; images resized to 8x8, as the model wants; no test part"
    quick = (*data, "--steps", "4", "--batch-size", "16")
    assert "it fits" in command("doctor", start, *data).out
    assert note in command("recommend", start, *data).err
    assert command("apply", start, "narrow:conv1=2", *data).status == 0
    assert note in command("train", start, *quick, "-o", "trained.onnx").err
    evolved = command("evolve", start, *quick, "--generations", "1", "--branches", "1", "--run", "run")
    assert note in evolved.err
    assert note in command("resume", "run").err
    assert "Test accuracy" in command("compare", start, "trained.onnx", *data).out
    open_size = cnn()
    for axis in (2, 3):
        open_size.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = "HW"[axis - 2]
    anything = put(tmp_path / "open.onnx", open_size)
    complains(command("train", anything, *quick, "-o", "out.onnx"), 1, "pixels", "export the model with a fixed height")
    nine = cnn()
    for axis in (2, 3):
        nine.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = 9
    other = put(tmp_path / "nine.onnx", nine)
    complains(command("compare", start, other, *data), 1, "different sizes (height x width): 8x8 and 9x9")


def test_numbers_to_predict_are_called_by_their_metric(command: Command, tmp_path: Path) -> None:
    path = put(tmp_path / "numbers.onnx", mlp((6,), classes=3))
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "data.npz", x_train=IMAGES, y_train=rng.standard_normal((60, 3)).astype(np.float32))
    data = ("--data", tmp_path / "data.npz")
    assert "Test R²" in command("compare", path, path, *data).out
    assert command("compare", path, path, *data, "--json").document["metric"] == "R²"
    recommended = command("recommend", path, *data)
    assert "validation R²" in recommended.err
    assert "3 numbers to predict" in recommended.err
    assert "points of R²" in recommended.out
    assert "accuracy" not in recommended.out + recommended.err
    out = tmp_path / "out.onnx"
    assert command("train", path, *data, "--steps", "2", "-o", out).status == 0
    assert [entry.key for entry in onnx.load(out).metadata_props] == ["pysurgeon.input"]


# --- nothing is overwritten ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("apply", "widen:fc1=8", "-o", "out.onnx"),
        ("train", *QUICK, "-o", "out.onnx"),
        ("evolve", *QUICK, "-o", "out.onnx", "--run", "run"),
    ],
    ids=lambda a: a[0],
)
def test_an_output_that_exists_is_kept(
    command: Command, start: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "out.onnx").write_text("precious")
    complains(command(arguments[0], start, *arguments[1:]), 1, "out.onnx exists", "--force")
    assert (tmp_path / "out.onnx").read_text() == "precious"
    assert not (tmp_path / "run").exists()


def test_an_output_that_exists_is_replaced_with_force(command: Command, start: Path, tmp_path: Path) -> None:
    (tmp_path / "out.onnx").write_text("old")
    assert command("apply", start, "widen:fc1=8", "-o", "out.onnx", "--force").status == 0
    onnx.checker.check_model(str(tmp_path / "out.onnx"))


def test_a_model_is_not_its_own_output_by_accident(command: Command, start: Path) -> None:
    before = start.read_bytes()
    complains(command("apply", start, "widen:fc1=8", "-o", start), 1, "exists")
    assert start.read_bytes() == before


def test_an_output_that_cannot_be_written_is_told(command: Command, start: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "out.onnx"
    done = command("apply", start, "widen:fc1=8", "-o", path)
    complains(done, 1, f"{path} cannot be written", "choose another place")
    assert "partial" not in done.err
    run = tmp_path / "file" / "run"
    complains(command("evolve", start, *QUICK, "--run", run), 1, f"{run} cannot be made", "choose another --run")


def test_an_option_is_called_as_it_was_typed(command: Command, start: Path) -> None:
    complains(command("evolve", start, "--data", "digits", "--lr", "0"), 2, "--lr is 0")
    complains(command("evolve", start, "--data", "digits", "--validation", "1"), 2, "--validation is 1")


def test_the_data_file_of_a_model_is_named(command: Command, start: Path, tmp_path: Path) -> None:
    model = onnx.load(start)
    onnx.save(model, tmp_path / "out.onnx", save_as_external_data=True, location="weights", size_threshold=0)
    done = command("apply", tmp_path / "out.onnx", "widen:fc1=400", "-o", tmp_path / "wide.onnx")
    assert f"written to {tmp_path / 'wide.onnx'} and {tmp_path / 'wide.onnx.data'}" in done.err


def test_a_run_that_exists_is_kept(command: Command, finished: tuple[Path, Done], start: Path) -> None:
    folder, _ = finished
    before = (folder / "run/lineage.jsonl").read_bytes()
    complains(command("evolve", start, *QUICK, "--run", folder / "run"), 1, "holds a run", "pysurgeon resume")
    assert (folder / "run/lineage.jsonl").read_bytes() == before


def test_a_foreign_folder_is_kept_even_with_force(command: Command, start: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter.tex").write_text("precious")
    complains(command("evolve", start, *QUICK, "--run", tmp_path / "thesis", "--force"), 1, "not empty")
    assert [p.name for p in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]


# --- usage and refusals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["", "widen", "widen:", "widen:fc1", "widen:fc1=", "widen:fc1=x", "widen:fc1=-3", "widen:fc1=²", "grow:fc1=8"],
)
def test_an_operation_that_is_none_is_a_matter_of_usage(command: Command, start: Path, text: str) -> None:
    complains(command("apply", start, text), 2, "widen:WIDTH=SIZE")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("widen:nope=8", ("no width 'nope'", "fc1")),
        ("insert:nope", ("no layer 'nope'", "fc1")),
        ("widen:fc1=6", ("6 units",)),
        ("widen:fc2=12", ("graph output",)),
        ("narrow:fc1=0", ("1..5",)),
        ("narrow:fc1=6", ("1..5",)),
        ("remove:fc2", ("output",)),
        ("factorize:fc1=60", ("ranks 1..5",)),
    ],
)
def test_an_operation_that_is_not_possible_is_refused_with_the_reason(
    command: Command, start: Path, tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    complains(command("apply", start, "widen:fc1=6" if text == "widen:fc1=6" else text, "-o", "out.onnx"), 3, *words)
    assert not (tmp_path / "out.onnx").exists()


def test_operations_are_done_all_or_not_at_all(command: Command, start: Path, tmp_path: Path) -> None:
    complains(command("apply", start, "widen:fc1=9", "widen:fc1=9", "-o", "out.onnx"), 3, "9 units")
    assert not (tmp_path / "out.onnx").exists()


@pytest.mark.parametrize(
    "options",
    [
        ("--epochs", "x"),
        ("--epochs", "0"),
        ("--epochs", "nan"),
        ("--epochs", "inf"),
        ("--steps", "0"),
        ("--steps", "1.5"),
        ("--steps", "3", "--epochs", "2"),
        ("--lr", "-1"),
        ("--lr", "nan"),
        ("--weight-decay", "-1"),
        ("--batch-size", "0"),
        ("--seed", "-1"),
        ("--threads", "0"),
        ("--workers", "0"),
        ("--generations", "-1"),
        ("--branches", "-1"),
        ("--limit", "1"),
        ("--validation", "1"),
        ("--price", "nan"),
        ("--tolerance", "-1"),
        ("--max-latency", "nan"),
        ("--time", "5x"),
        ("--time", ""),
        ("--optimizer", "adam"),
        ("--objective", "beauty"),
        ("--strategy", "best"),
        ("--normalize", "maybe"),
        ("--augment", "mixup"),
        ("--nope",),
    ],
    ids=" ".join,
)
def test_an_option_that_makes_no_sense_is_a_matter_of_usage(
    command: Command, start: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    done = command("evolve", start, "--data", "digits", "--run", "run", *options)
    assert done.status == 2, done.err
    assert done.out == ""
    assert done.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments", [("nope",), ("evolve",), ("apply", "x.onnx"), ("recommend", "x.onnx"), ("compare", "a")]
)
def test_an_incomplete_command_is_a_matter_of_usage(command: Command, arguments: tuple[str, ...]) -> None:
    done = command(*arguments)
    assert done.status == 2
    assert "Usage" in done.err


@pytest.mark.parametrize("what", ["missing", "file", "folder"])
@pytest.mark.parametrize("name", ["resume", "report"])
def test_what_is_no_run_is_refused(command: Command, tmp_path: Path, name: str, what: str) -> None:
    path = tmp_path / "run"
    if what == "file":
        path.write_text("text")
    elif what == "folder":
        path.mkdir()
    complains(command(name, path), 1, "not the folder of a run")


def test_limits_that_the_start_breaks_are_refused(command: Command, start: Path, tmp_path: Path) -> None:
    done = command("evolve", start, "--data", "digits", "--run", "run", "--max-params", "100")
    complains(done, 3, "460 parameters", "100")
    assert not (tmp_path / "run").exists()


def test_a_traceback_is_shown_to_who_asks_for_it(tmp_path: Path) -> None:
    assert "Traceback" not in shell("inspect", tmp_path / "no.onnx").err
    done = shell("inspect", tmp_path / "no.onnx", PYSURGEON_TRACEBACK="1")
    assert done.status == 1
    assert "Traceback" in done.err


# --- interruptions ------------------------------------------------------------------------------------------------------

LONG = ("--data", "digits", "--steps", "1500", "--generations", "3", "--branches", "2", "--batch-size", "32", "--json")


@contextlib.contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "pysurgeon", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        # Whoever runs the tests may have told this process to ignore interrupts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,  # noqa: PLW1509
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def events(run: Path) -> int:
    path = run / "lineage.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def wait_for(process: subprocess.Popen[str], run: Path, count: int) -> None:
    limit = time.monotonic() + 120
    while events(run) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < limit
        time.sleep(0.003)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", ["resume", "evolve"])
def test_who_interrupts_is_told_how_to_go_on(
    command: Command,
    finished: tuple[Path, Done],
    start: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    number: signal.Signals,
) -> None:
    import pysurgeon.evolution

    def interrupted(*_: object) -> None:
        os.kill(os.getpid(), number)
        time.sleep(60)

    monkeypatch.setattr(pysurgeon.evolution, "go_on", interrupted)
    monkeypatch.setattr(pysurgeon.evolution, "check", lambda *_: None)
    run = tmp_path / "run"
    if name == "resume":
        shutil.copytree(finished[0] / "run", run)
    done = command("resume", run) if name == "resume" else command("evolve", start, *QUICK, "--run", run)
    assert done.status == 130
    assert done.out == ""
    assert done.err.splitlines()[-1].endswith(f"go on with: pysurgeon resume {run}")
    again = command("resume", run, "-o", tmp_path / "the best.onnx")
    assert again.err.splitlines()[-1].endswith(f"pysurgeon resume {run} -o '{tmp_path / 'the best.onnx'}'")


@pytest.mark.slow
def test_a_run_that_is_killed_or_interrupted_comes_to_the_end_that_it_would_have_had(
    command: Command, tmp_path: Path
) -> None:
    start = put(tmp_path / "start.onnx", mlp((6,)))
    run = tmp_path / "run"
    expected = undisturbed(start, tmp_path / "undisturbed")
    rng = np.random.default_rng(0)
    how = (signal.SIGKILL, signal.SIGINT, signal.SIGKILL)
    instants = np.linspace(2, 0.7 * events(expected), len(how)).astype(int)
    for k, (count, number) in enumerate(zip(instants, how, strict=True)):
        arguments = ("resume", run, "--json") if k else ("evolve", start, *LONG, "--workers", "2", "--run", run)
        with started(*arguments) as process:
            wait_for(process, run, int(count))
            time.sleep(float(rng.uniform(0, 0.02)))
            assert process.poll() is None, "the run ended before it could be disturbed"
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        assert out == ""
        assert "Traceback" not in err
        if number == signal.SIGKILL:
            assert process.returncode == -signal.SIGKILL
        else:
            assert process.returncode == 130, err
            assert f"pysurgeon resume {run}" in " ".join(err.split())
    found = command("resume", run, "--json").document
    assert (run / "result.onnx").read_bytes() == (expected / "result.onnx").read_bytes()
    assert found["steps"]["trunk"] == 1500
    lineages = [[json.loads(line) for line in (f / "lineage.jsonl").read_text().splitlines()] for f in (run, expected)]
    assert {e.get("outcome") for e in lineages[0]} == {None, "DONE"}
    # Two workers may end in another order, but there is the same to write down.
    keys = [sorted(e["key"] for e in lineage) for lineage in lineages]
    assert keys[0] == keys[1]


def undisturbed(start: Path, folder: Path) -> Path:
    """The same run in this process, from its begin to its end."""
    from pysurgeon.data import load as load_data
    from pysurgeon.evolution import EvolveSettings, SerialExecutor, Setup, Silent, Surgeon, begin
    from pysurgeon.graph import load
    from pysurgeon.training import OrtTrainer

    settings = EvolveSettings("digits", epochs=None, steps=1500, generations=3, branches=2, batch_size=32)
    setup = Setup(settings, load_data("digits"), OrtTrainer(), SerialExecutor(), Silent())
    Surgeon(setup, begin(load(start), settings, folder)).run()
    return folder
