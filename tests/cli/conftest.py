"""A place to work, a start, and a run that others only look at."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from starts import mlp

from pysurgeon.cli import main
from tests.cli.commands import QUICK, Command, Done, put, shell


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


@pytest.fixture
def start(tmp_path: Path) -> Path:
    return put(tmp_path / "start.onnx", mlp((6,)))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A run that others only look at, and what the command that made it printed."""
    folder = tmp_path_factory.mktemp("cli")
    start = put(folder / "start.onnx", mlp((6,)))
    arguments = ["evolve", start, *QUICK, "--generations", "1", "--branches", "1", "--workers", "1", "--json"]
    done = shell(*arguments, "--run", folder / "run", "-o", folder / "better.onnx")
    assert done.status == 0, done.err
    return folder, done
