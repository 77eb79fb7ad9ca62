"""Usage, refusals and their exit statuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.commands import Command, complains, shell


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
    done = command("evolve", start, "--data", "digits", "--run", "run", "--max-params", "100", "--strategy", "random")
    complains(done, 3, "460 parameters", "100", "--strategy")
    assert not (tmp_path / "run").exists()


def test_a_traceback_is_shown_to_who_asks_for_it(tmp_path: Path) -> None:
    assert "Traceback" not in shell("inspect", tmp_path / "no.onnx").err
    done = shell("inspect", tmp_path / "no.onnx", PYSURGEON_TRACEBACK="1")
    assert done.status == 1
    assert "Traceback" in done.err
