"""What the Python interface gives back is made to be looked at: in a terminal, in a notebook, in a data frame, and later from its folder."""

from __future__ import annotations

import warnings
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starts import digits, mlp, model

import pysurgeon as ps
from pysurgeon.errors import DataWarning, RunError
from pysurgeon.evolution.journal import LINEAGE
from pysurgeon.report import Printable

QUICK: dict[str, Any] = {"steps": 20, "generations": 1, "branches": 1, "batch_size": 32, "workers": 1}


@pytest.fixture(scope="module")
def evolved(tmp_path_factory: pytest.TempPathFactory) -> ps.EvolveResult:
    return ps.evolve(model(mlp((6,))), digits(), run=tmp_path_factory.mktemp("runs") / "run", **QUICK)


class Page(HTMLParser):
    """The text of a piece of HTML, and the elements in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.elements = "", dict[str, dict[str, str | None]]()
        self.feed(text)

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] = dict(attrs)


def test_notebooks_show_what_is_printed(evolved: ps.EvolveResult) -> None:
    start = model(mlp((6,)))
    results: list[Printable] = [
        ps.inspect(start),
        ps.doctor(start),
        ps.apply(start, "widen:fc1=8"),
        ps.read(evolved.run),
    ]
    for result in results:
        page = Page(result._repr_html_())
        assert set(page.elements) <= {"pre", "span"}
        said = "".join(page.text.split())
        for line in str(result).splitlines()[:3]:
            assert all(word in said for word in line.replace("─", " ").split())


def test_names_are_text_in_notebooks() -> None:
    start = model(mlp((6,)))
    node = next(iter(start.ir.graph))
    node.name = "<script>alert(1)</script>"
    assert "<script" not in ps.doctor(start)._repr_html_()


def test_a_notebook_shows_the_report_of_a_run(evolved: ps.EvolveResult) -> None:
    page = Page(evolved._repr_html_())
    assert "the start trained alone" in page.text
    frame = page.elements["iframe"]
    assert frame["srcdoc"] == (evolved.run / "report.html").read_text(encoding="utf-8")
    assert "sandbox" in frame


def test_history_and_lineage_are_plain_data(evolved: ps.EvolveResult) -> None:
    history = evolved.history
    assert [m.step for m in history] == sorted(m.step for m in history)
    assert history[0].branch == "start"
    assert history[-1].step == evolved.steps.trunk == 20
    assert all(0 <= m.validation_accuracy <= 1 for m in history)
    assert {type(value) for event in evolved.lineage for value in event.values()} <= {
        str,
        int,
        float,
        bool,
        list,
        dict,
        type(None),
    }
    assert evolved.lineage[0]["event"] == "run"
    assert evolved.lineage[-1]["event"] == "tested"


def test_a_run_is_read_without_its_data(
    evolved: ps.EvolveResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pysurgeon.evolution.run.load_for", None)
    run = ps.read(evolved.run)
    assert run.result == evolved
    assert run.history == evolved.history
    assert list(run.lineage) == evolved.lineage
    assert run.settings.steps == 20
    assert "Start trained alone" in str(run)
    lines = (evolved.run / LINEAGE).read_bytes().splitlines(keepends=True)
    (tmp_path / "start.onnx").write_bytes((evolved.run / "start.onnx").read_bytes())
    for count in range(1, len(lines)):
        (tmp_path / LINEAGE).write_bytes(b"".join(lines[:count]))
        under_way = ps.read(tmp_path)
        assert under_way.result is None
        assert "of 1 generations are over" in str(under_way)
        assert len(under_way.lineage) == count
        trained = [e for e in under_way.lineage if e["event"] == "trained" and e["branch"] == "start"]
        assert bool(under_way.history) == bool(trained)
    with pytest.raises(RunError):
        ps.read(tmp_path / "none")


def test_training_and_evolving_warn_as_the_command_line_does(tmp_path: Path) -> None:
    trained = ps.train(model(mlp((16,))), "digits", steps=300).model.with_metadata({})
    proto = trained.to_proto()
    del proto.metadata_props[:]
    data = digits(None)
    order = np.random.default_rng(0).permutation(10)
    moved = {f"x_{n}": p.x for n, p in (("train", data.train), ("test", data.test))}
    moved |= {f"y_{n}": order[p.y] for n, p in (("train", data.train), ("test", data.test))}
    with pytest.warns(DataWarning, match="another order than the classes"):
        ps.train(model(proto), moved, steps=2)
    with pytest.warns(DataWarning, match="another order than the classes"):
        ps.evolve(model(proto), moved, run=tmp_path / "run", **{**QUICK, "steps": 4})
    with pytest.warns(DataWarning, match="another order than the classes"):
        ps.resume(tmp_path / "run", moved)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        ps.train(model(proto), "digits", steps=2)
