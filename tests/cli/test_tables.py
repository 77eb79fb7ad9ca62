"""A table from a file to a trained network, as somebody does it who has nothing else."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from starts import text_model

from pysurgeon.cli import _reading
from tests.cli.commands import Command, complains, put

KINDS = np.array(["setosa", "versicolor", "virginica"])


def flowers(tmp_path: Path) -> tuple[Path, Path]:
    """A table of three kinds that lie apart, and a network for it."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 200)
    x = 3 * rng.standard_normal((3, 4))[y] + rng.standard_normal((200, 4))
    rows = [",".join([KINDS[label], *(f"{value:.3f}" for value in row)]) for row, label in zip(x, y, strict=True)]
    table = tmp_path / "flowers.csv"
    table.write_text("\n".join(["kind,length,width,height,weight", *rows]) + "\n")
    tensors = {"w1": rng.standard_normal((4, 8)) / 2, "w2": rng.standard_normal((8, 3)) / 3}
    lines = ["h = MatMul (x, w1)", "r = Relu (h)", "y = MatMul (r, w2)"]
    return table, put(tmp_path / "start.onnx", text_model("m (float[N, 4] x) => (float[N, 3] y)", lines, tensors))


def test_a_table_is_learnt(command: Command, tmp_path: Path) -> None:
    table, start = flowers(tmp_path)
    out = tmp_path / "out.onnx"
    options = ("--data", table, "--label", "kind", "--steps", "150", "--lr", "0.02")
    done = command("train", start, *options, "-o", out, "--json")
    assert done.document["test_accuracy"] > 0.8
    assert "label: column 'kind'" in done.err
    (classes,) = (p.value for p in onnx.load(out).metadata_props if p.key == "pysurgeon.classes")
    assert json.loads(classes) == KINDS.tolist()
    complains(command("doctor", start, "--data", table), 1, "in column 'kind'", "say --label kind")
    complains(command("doctor", start, "--data", table, "--label", "sort"), 2, "--label", "kind, length")
    (tmp_path / "none.csv").write_text(table.read_text().replace("setosa,", "setosa,,", 1).replace(",,", ",?,", 1))
    complains(command("doctor", start, "--data", tmp_path / "none.csv", "--label", "kind"), 1, "values")


@pytest.mark.parametrize("slow", [False, True])
def test_who_waits_is_told_what_for(
    slow: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_reading, "_LONG", 0.05)
    with _reading.patience("reading folder:photos"):
        time.sleep(0.5 if slow else 0)
    time.sleep(0.1)
    assert ("reading folder:photos ..." in capsys.readouterr().err) == slow
