"""Losses and teachers from the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.commands import IMAGES, Command, complains

STEPS = ("--steps", "12", "--batch-size", "16")


def test_a_network_is_narrowed_and_recovered_without_labels(command: Command, start: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x_train=IMAGES)
    small, back = tmp_path / "small.onnx", tmp_path / "back.onnx"
    assert command("apply", start, "narrow:fc1=4", "--data", tmp_path / "x.npz", "-o", small).status == 0
    done = command("train", small, "--data", tmp_path / "x.npz", "--teacher", start, *STEPS, "-o", back, "--json")
    assert done.document["metric"] == "R² to the teacher"
    assert "no labels" in done.err
    assert "fed as it is, as there are no labels to tell by" in done.err


def test_a_run_is_resumed_with_its_loss_and_its_teacher(
    command: Command, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez(tmp_path / "x.npz", x_train=IMAGES)
    options = ("--teacher", "start", "--loss", "kl(temperature=2)", "--objective", "size", "--generations", "1", *STEPS)
    monkeypatch.chdir(tmp_path)
    found = command("evolve", start, "--data", tmp_path / "x.npz", *options, "--run", "run", "--json").document
    assert found["metric"] == "R² to the teacher"
    monkeypatch.chdir("/")
    again = command("resume", tmp_path / "run", "--json").document
    assert again["result"] == found["result"]


def test_what_is_no_loss_and_no_teacher_is_told(command: Command, start: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x_train=IMAGES)
    train = ("train", start, "--data", tmp_path / "x.npz", "-o", tmp_path / "o.onnx")
    complains(command(*train), 1, "no labels", "--teacher start")
    complains(command(*train, "--teacher", tmp_path / "none.onnx"), 1, "none.onnx", "does not exist")
    complains(command(*train, "--teacher", "start", "--loss", "sqares"), 2, "no loss 'sqares'", "squares", "FILE.onnx")
    complains(command(*train, "--loss", "kl"), 1, "no labels; give a teacher")
    complains(command(*train, "--loss", "no.where:loss"), 2, "no.where:loss", "cannot be imported")
    assert not (tmp_path / "o.onnx").exists()
