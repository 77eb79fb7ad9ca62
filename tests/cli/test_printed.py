"""What goes to stdout and what to stderr."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from engines import needs_ort
from starts import cnn, mlp, text_model

import pysurgeon as ps
from tests.cli.commands import IMAGES, LABELS, QUICK, ROOT, Command, Done, complains, put, shell


def test_inspect(command: Command, tmp_path: Path) -> None:
    found = command("inspect", put(tmp_path / "cnn.onnx", cnn()), "--json").document
    assert set(found) == {"model", "widths", "layers"}
    assert found["model"]["parameters"] == 448
    assert found["model"]["opset"] == 17
    assert found["model"]["inputs"] == [{"name": "x", "shape": [None, 1, 8, 8], "dtype": "float32"}]
    keys = {"parameters", "macs", "macs_at", "opset", "ir_version", "inputs", "outputs", "not_finite"}
    assert set(found["model"]) == keys
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


@needs_ort
def test_doctor_knows_both_engines(command: Command, tmp_path: Path) -> None:
    lines = ["h = Atan (x)", "f = Flatten (h)", "z = MatMul (f, w)", "y = Atan (z)"]
    path = tmp_path / "arcs.onnx"
    onnx.save(text_model("m (float[N, 1, 8, 8] x) => (float[N, 10] y)", lines, {"w": np.ones((64, 10))}), path)
    found = [command("doctor", path, "--trainer", name, "--json").document for name in ("ort", "torch")]
    assert [f["trains"] for f in found] == [False, True]
    assert command("doctor", path, "--trainer", "torch", "--data", "digits").status == 0
    assert command("train", path, *QUICK, "-o", tmp_path / "a.onnx").status == 1
    assert command("train", path, *QUICK, "--trainer", "torch", "-o", tmp_path / "a.onnx").status == 0


@needs_ort
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
    assert runs[0]["result"]["test_accuracy"] == pytest.approx(runs[1]["result"]["test_accuracy"], abs=0.05)


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
    assert set(found) == {"operations", "before", "after", "beside_file", "output"}
    assert found["beside_file"]["sizes"] == [{"N": 1}, {"N": 3}]
    assert found["beside_file"]["why"] == ""
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
    assert "from those of the file itself" in done.err
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
    assert "the start trained alone" in " ".join(readable.split())
    assert "test samples" in " ".join(readable.split())


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
    assert set(found) == {"max_error", "a", "b", "metric", "difference", "speed", "load"}
    assert found["speed"]["low"] <= found["speed"]["median"] <= found["speed"]["high"]
    assert found["difference"] is None
    assert set(found["a"]) == set(found["b"]) == {"accuracy", "parameters", "macs", "latency_ms"}
    assert found["max_error"] < 1e-5
    assert found["a"]["accuracy"] is None
    assert found["b"]["parameters"] > found["a"]["parameters"]
    readable = command("compare", start, tmp_path / "wide.onnx").out
    assert readable.split()[:3] == ["start.onnx", "wide.onnx", "Change"]
    assert "Parameters" in readable
    command("train", start, *QUICK, "--steps", "300", "-o", tmp_path / "trained.onnx")
    judged = command("compare", start, tmp_path / "trained.onnx", "--data", "digits", "--json").document
    assert judged["difference"]["mean"] == pytest.approx(judged["b"]["accuracy"] - judged["a"]["accuracy"])
    said = command("compare", start, tmp_path / "trained.onnx", "--data", "digits").out
    assert "trained.onnx is better than start.onnx: of" in " ".join(said.split())
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


@pytest.mark.parametrize(
    "name",
    ["inspect", "doctor", "recommend", "apply", "train", "evolve", "resume", "report", "runs", "clean", "compare"],
)
def test_help_gives_an_example_and_groups_of_options(command: Command, name: str) -> None:
    done = command(name, "--help")
    assert done.status == 0
    text = " ".join(done.out.split())
    assert f"Example: pysurgeon {name} " in text
    listed = done.out.split("─ Options ─")[1].split("╰")[0]
    assert re.findall(r"--[a-z-]+", listed) == ["--help"]  # all others are in a group


def test_the_example_of_every_command_is_one_that_it_takes() -> None:
    import typer

    from pysurgeon.cli import app

    group: Any = typer.main.get_command(app)
    for name, one in group.commands.items():
        assert one.epilog is not None
        words = shlex.split(one.epilog.removeprefix("Example: "))
        assert words[:2] == ["pysurgeon", name]
        context = one.make_context(name, words[2:])
        assert not context.args


def test_the_version_is_told(command: Command) -> None:
    assert command("-V").out == command("--version").out == f"{ps.__version__}\n"


def test_sentences_are_wrapped_at_words_on_a_terminal_and_one_line_elsewhere() -> None:
    from pysurgeon.cli._wrapping import Wrapping

    sentence = (
        "the model as it stands answers " + "much better than chance, and the rest is one/very/long/path" + "/x" * 50
    )
    for terminal in (True, False):
        file = io.StringIO()
        Wrapping(file=file, width=40, force_terminal=terminal, color_system=None, no_color=True).print(
            sentence, markup=False, soft_wrap=True
        )
        lines = file.getvalue().splitlines()
        assert " ".join(line.strip() for line in lines) == sentence
        assert len(lines) == (3 if terminal else 1)


def test_doctor_takes_what_says_how_the_data_is_fed(command: Command, start: Path, tmp_path: Path) -> None:
    trained = tmp_path / "trained.onnx"
    command("train", start, *QUICK, "--steps", "300", "-o", trained)
    found = {
        way: command(
            "doctor", trained, "--data", "digits", "--normalize", way, "--limit", "600", "--threads", "2", "--json"
        )
        for way in ("standard", "none")
    }
    assert "540 train / 60 validation" in found["none"].err
    accuracy = {way: done.document["validation_accuracy"] for way, done in found.items()}
    assert accuracy["standard"] > accuracy["none"]
