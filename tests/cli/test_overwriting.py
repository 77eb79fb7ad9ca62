"""Nothing is overwritten without being asked."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from tests.cli.commands import QUICK, Command, Done, complains


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
