"""What becomes of the folders of runs, and what a file says about the run that it came from."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest

import pysurgeon as ps
from pysurgeon.evolution.provenance import data_digest, model_digest
from pysurgeon.training import load_for
from tests.cli.commands import QUICK, Command, Done, complains


def told(path: Path) -> dict[str, Any]:
    """What a file says about how it came about."""
    (entry,) = (p.value for p in onnx.load(path).metadata_props if p.key == "pysurgeon.run")
    found: dict[str, Any] = json.loads(entry)
    return found


def test_a_run_and_its_result_say_what_made_them(finished: tuple[Path, Done], start: Path) -> None:
    run = finished[0] / "run"
    first = json.loads((run / "lineage.jsonl").read_text().splitlines()[0])
    assert {"pysurgeon", "python", "numpy", "onnx", "system", "machine"} <= first["written_by"].keys()
    given = ps.load(start)
    reading = ps.read(run).settings.reading
    assert first["made_from"] == {
        "model": model_digest(given),
        "data": data_digest(load_for("digits", given, seed=ps.read(run).settings.seed, **reading)),
    }
    result = ps.read(run).result
    assert result is not None
    about = told(run / "result.onnx")
    assert about["made_from"] == first["made_from"]
    assert about["genome"] == list(result.genome)
    assert about["figures"]["test_accuracy"] == result.result.test_accuracy
    assert "latency_ms" not in about["figures"]


def test_a_trained_file_says_what_made_it(command: Command, start: Path, tmp_path: Path) -> None:
    done = command("train", start, *QUICK, "-o", tmp_path / "out.onnx", "--json").document
    about = told(tmp_path / "out.onnx")
    assert (about["command"], about["steps"]) == ("train", 20)
    assert about["figures"]["test_accuracy"] == done["test_accuracy"]
    assert about["made_from"]["model"] == model_digest(ps.load(start))
    assert model_digest(ps.load(tmp_path / "out.onnx")) != about["made_from"]["model"]


def test_a_run_that_has_ended_is_cleaned_and_still_tells_everything(
    finished: tuple[Path, Done], command: Command, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished[0] / "run", run)
    before = ps.read(run).result
    result = hashlib.sha256((run / "result.onnx").read_bytes()).digest()
    freed = command("clean", run, "--json").document["freed_bytes"]
    assert freed > 0
    assert not list((run / "branches").iterdir())
    assert command("clean", run, "--json").document["freed_bytes"] == 0
    assert command("report", run).status == 0
    assert command("resume", run).status == 0
    assert ps.read(run).result == before
    assert hashlib.sha256((run / "result.onnx").read_bytes()).digest() == result


def test_a_run_under_way_is_not_cleaned(finished: tuple[Path, Done], command: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished[0] / "run", run)
    lines = (run / "lineage.jsonl").read_bytes().splitlines(keepends=True)
    (run / "lineage.jsonl").write_bytes(b"".join(lines[:-1]))
    complains(command("clean", run), 1, "has not ended", "resume it first")
    assert list((run / "branches").iterdir())


def test_what_lost_leaves_no_files(finished: tuple[Path, Done]) -> None:
    run = ps.read(finished[0] / "run")
    selected = [e for e in run.lineage if e["event"] == "selected"]
    trained = [e for e in run.lineage if e["event"] == "trained" and e["outcome"] == "DONE"]
    assert selected
    for event in selected:
        for name in event["branches"]:
            (last,) = [e for e in trained if e["branch"] == name and e["until"] == event["until"]] or [None]
            if last is not None:
                kept = (finished[0] / "run" / f"branches/{last['key']}.onnx").exists()
                assert kept == (name in event["survivors"])


def test_runs_are_compared(finished: tuple[Path, Done], command: Command, tmp_path: Path) -> None:
    for name in ("a", "b"):
        shutil.copytree(finished[0] / "run", tmp_path / "runs" / name)
    lines = (tmp_path / "runs/b/lineage.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "runs/b/lineage.jsonl").write_bytes(b"".join(lines[:-1]))
    (tmp_path / "runs/c").mkdir()
    (tmp_path / "runs/c/lineage.jsonl").write_text("{}\n")
    document = command("runs", tmp_path / "runs", "--json").document
    a, b = document["runs"]
    result = ps.read(finished[0] / "run").result
    assert result is not None
    assert (a["test_accuracy"], a["parameters"]) == (result.result.test_accuracy, result.result.parameters)
    assert (a["ended"], b["ended"], b["test_accuracy"]) == (True, False, None)
    assert list(document["unread"]) == [str(tmp_path / "runs/c")]
    shown = command("runs", tmp_path / "runs").out
    assert "runs/b has not ended" in "".join(shown.splitlines()).replace("  ", " ")
    assert "…" not in shown
    assert "damaged" in shown
    assert len(command("runs", finished[0] / "run", "--json").document["runs"]) == 1
    complains(command("runs", tmp_path / "none"), 1, "holds no run")


@pytest.mark.parametrize("command_name", ["runs", "clean"])
def test_what_is_no_run_is_told(command: Command, tmp_path: Path, command_name: str) -> None:
    complains(command(command_name, tmp_path), 1, "run")
