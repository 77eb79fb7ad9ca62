from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from pysurgeon.diagnosis import Objective
from pysurgeon.errors import OutputExistsError
from pysurgeon.evolution import EvolveSettings, Figures, Journal
from pysurgeon.model.timing import Ratio
from pysurgeon.report import _format as fmt
from pysurgeon.report import write_report
from pysurgeon.report.conclusions import caution, verdict
from pysurgeon.report.lineage_svg import lineage_tree
from pysurgeon.report.page import headline, render
from pysurgeon.report.run_summary import from_journal
from pysurgeon.training import paired
from pysurgeon.training.task.evaluate import Evaluation
from tests.report.lineage import EVIL, write_run
from tests.starts import digits

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Checks that tags are closed in order and collects them with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def test_a_finished_run_tells_what_it_came_to(tmp_path: Path) -> None:
    page = Page(render(from_journal(write_run(tmp_path / "run"))))
    assert "From 70.0 % to 84.0 % on digits" in page.text
    assert (
        "The result is better than the start trained alone: of 400 test samples it alone gets 60 right, the other alone 4 "
        "(p < 0.0001 by McNemar's exact test). The difference is +14.0 points of accuracy, with 95 % confidence between +10.4 and +17.8."
    ) in page.text
    assert "400 samples" in page.text
    assert "80.1 % – 87.3 %" in page.text
    assert "1.88 ×" in page.text  # 187.5 k of all branches, 100 k of the trunk
    assert "188 k MACs" in page.text
    assert "Not finished" not in page.text


def test_a_page_needs_nothing_else(tmp_path: Path) -> None:
    page = Page(render(from_journal(write_run(tmp_path / "run"))))
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "embed", "img", "image", "base", "form"}
    links = [a for _, attributes in page.tags for k, a in attributes.items() if k in ("src", "href", "xlink:href")]
    assert all(link is not None and link.startswith("#") for link in links)
    style = re.search(r"<style>.*?</style>", render(from_journal(Journal.open(tmp_path / "run"))), re.DOTALL)
    assert style is not None
    assert "url(" not in style.group()
    assert "@import" not in style.group()


def test_a_page_is_accessible(tmp_path: Path) -> None:
    page = Page(render(from_journal(write_run(tmp_path / "run"))))
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        if tag == "svg":
            labels = (attributes.get("aria-labelledby") or "").split()
            assert attributes["role"] == "img"
            assert attributes.get("aria-label") or (labels and set(labels) <= set(ids))
        if tag == "th":
            assert attributes.get("scope") in ("col", "row")


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    journal = write_run(tmp_path / "run")
    first = write_report(journal, tmp_path / "a.html").read_bytes()
    second = write_report(Journal.open(tmp_path / "run"), tmp_path / "b.html").read_bytes()
    assert first == second


def test_names_from_files_are_escaped(tmp_path: Path) -> None:
    journal = write_run(tmp_path / "run", layer=EVIL, data=f"module:{EVIL}")
    run = from_journal(journal)
    assert run.layers[0].name == EVIL
    text = render(run)
    assert EVIL not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "script" not in {tag for tag, _ in Page(text).tags}


def test_a_name_cannot_leave_its_attribute(tmp_path: Path) -> None:
    page = Page(render(from_journal(write_run(tmp_path / "run", layer='a" onload="alert(1)'))))
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)


@pytest.mark.parametrize("upto", [0, 1, 5, 9, 11, 16, 19])
def test_a_run_that_is_not_finished_gives_a_page_that_says_so(tmp_path: Path, upto: int) -> None:
    page = Page(render(from_journal(write_run(tmp_path / "run", upto=upto))))
    assert "Not finished." in page.text
    assert "pysurgeon resume" in page.text
    assert "of 2 generations so far" in page.text
    assert "Before and after" not in page.text


def test_a_control_that_diverged_makes_no_claim(tmp_path: Path) -> None:
    journal = write_run(tmp_path / "run", upto=20)
    figures = {"parameters": 51, "macs": 42, "latency_ms": 0.01, "test_accuracy": 0.1}
    journal.append(
        {"event": "tested", "key": "tested", "start": figures, "alone": None, "result": figures}
        | {"genome": [], "branch": "g1-1", "trunk_steps": 100, "samples": 400}
    )
    run = from_journal(journal)
    assert headline(run).sentences == (
        "The start alone did not train to the end, so there is nothing to compare with.",
    )
    assert "did not train to the end" in Page(render(run)).text


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    journal = write_run(tmp_path / "run")
    path = tmp_path / "report.html"
    path.write_text("mine")
    with pytest.raises(OutputExistsError, match="--force"):
        write_report(journal, path)
    assert path.read_text() == "mine"
    assert write_report(journal, path, force=True) == path
    assert path.read_text().startswith("<!DOCTYPE html>")


def test_the_tree_has_a_card_for_every_branch_and_a_line_to_all_that_raced(tmp_path: Path) -> None:
    (row,) = lineage_tree(from_journal(write_run(tmp_path / "run")))
    assert [card.heading for card in row.cards] == ["start", "start", "g1-1", "g1-2", "g1-3", "g1-1", "g2-1", "g2-2"]
    assert sum(edge.trunk for edge in row.edges) == 2
    assert len(row.edges) == 6  # the refused branch never raced
    assert row.cards[3].figure == "refused"
    assert row.cards[2].lines == ("widen fc1 → 8", "insert fc1")
    for card in row.cards:
        assert card.x >= 0
        assert card.x + card.width <= row.width
        assert card.y + card.height <= row.height


def test_long_names_are_shortened_in_the_tree(tmp_path: Path) -> None:
    (row,) = lineage_tree(from_journal(write_run(tmp_path / "run", layer="encoder.layers.11.feed_forward.dense")))
    assert all(len(line) <= 19 for card in row.cards for line in card.lines)
    assert "encoder.layers.11.feed_forward.dense" in row.cards[2].title


def test_ten_generations_continue_in_a_second_row(tmp_path: Path) -> None:
    run = from_journal(write_run(tmp_path / "run"))
    generations, trunk = [], "start"
    for k in range(1, 11):
        named = {"start": trunk, **{f"g1-{j}": f"g{k}-{j}" for j in (1, 2, 3)}}
        branches = tuple(replace(b, id=named[b.id], parent=named[b.parent]) for b in run.generations[0].branches)
        generations.append(replace(run.generations[0], number=k, branches=branches, taken=branches[1]))
        trunk = named["g1-1"]
    many = replace(run, generations=tuple(generations))
    first, second = lineage_tree(many)
    assert [heading.text for heading in second.headings] == [f"generation {k}" for k in (7, 8, 9, 10)]
    assert second.cards[0].heading == "g6-1"  # the winner that they come from
    assert first.width == second.width
    Page(render(many))


@pytest.mark.parametrize(
    ("objective", "title"),
    [
        ("size", "80 % fewer parameters on digits, test accuracy 70.0 % to 84.0 %"),
        ("latency", "2.00 × faster on digits, test accuracy 70.0 % to 84.0 %"),
    ],
)
def test_the_headline_speaks_of_the_objective(tmp_path: Path, objective: Objective, title: str) -> None:
    run = from_journal(write_run(tmp_path / "run"))
    assert run.alone is not None
    heavier = replace(run.alone, figures=Figures(695, 420, 0.7, 0.04))
    faster = Ratio(0.5, 0.4, 0.6, "faster")
    of = replace(run, settings=replace(run.settings, objective=objective), alone=heavier, speed=faster)
    assert headline(of).title.replace(fmt.SPACE, " ") == title


@pytest.mark.parametrize("speed", [None, Ratio(0.6, 0.4, 1.1, "open"), Ratio(0.99, 0.98, 1.01, "alike")])
def test_nothing_is_called_faster_that_the_times_do_not_tell(tmp_path: Path, speed: Ratio | None) -> None:
    run = from_journal(write_run(tmp_path / "run"))
    assert run.alone is not None
    heavier = replace(run.alone, figures=Figures(695, 420, 0.7, 0.04))
    of = replace(run, settings=replace(run.settings, objective="latency"), alone=heavier, speed=speed)
    assert "faster" not in headline(of).title
    assert ("not told apart" if speed and speed.verdict == "open" else "alike" if speed else "not compared") in render(
        of
    )


@pytest.mark.parametrize(
    ("won", "lost", "words"),
    [
        (
            5,
            31,
            "The result is worse than the start trained alone: of 400 test samples it alone gets 5 right, the other alone 31",
        ),
        (31, 5, "The result is better than the start trained alone: of 400 test samples it alone gets 31 right"),
        (
            7,
            9,
            "The test samples do not tell whether the result or the start trained alone is better: of 400 test samples",
        ),
        (0, 0, "The result and the start trained alone are right and wrong on the same 400 test samples."),
    ],
)
def test_the_verdict_is_that_of_the_samples_that_both_have_seen(
    tmp_path: Path, won: int, lost: int, words: str
) -> None:
    run = from_journal(write_run(tmp_path / "run"))
    first, second = np.ones(400), np.ones(400)
    first[:won], second[won : won + lost] = 0, 0
    seen = [Evaluation(0.0, float(s.mean()), 400, s, "accuracy") for s in (first, second)]
    found = " ".join(verdict(replace(run, difference=paired(*seen)))).replace(fmt.SPACE, " ")
    assert found.startswith(words)
    assert ("points of accuracy, with 95 % confidence between" in found) == (won + lost > 0)


def test_a_run_of_a_version_that_did_not_compare_in_pairs_is_judged_by_its_intervals(tmp_path: Path) -> None:
    run = replace(from_journal(write_run(tmp_path / "run")), difference=None)
    assert "do not overlap: the result is better" in " ".join(verdict(run))


def test_a_result_beyond_the_tolerance_is_told(tmp_path: Path) -> None:
    run = from_journal(write_run(tmp_path / "run"))
    assert run.alone is not None
    better = replace(run.alone, figures=replace(run.alone.figures, test_accuracy=0.9))
    small = replace(run, settings=replace(run.settings, objective="size"), alone=better)
    found = " ".join(verdict(small)).replace(fmt.SPACE, " ")
    assert "the result fell short of the best by up to 6.0 % of accuracy, more than the tolerance of 1.0 %" in found
    wider = replace(small, settings=replace(small.settings, tolerance=0.1))
    for kept in (wider, replace(run, alone=better), replace(run, settings=small.settings)):
        assert "tolerance" not in " ".join(verdict(kept))


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"max_params": 100}, "The result has 139 parameters, more than the 100 allowed"),
        ({"max_macs": 60}, "The result has 120 multiply-accumulate operations, more than the 60 allowed"),
        ({"max_latency": 0.01}, "The result has 0.02 ms of latency, more than the 0.01 allowed"),
        ({"max_params": 139, "max_macs": 120, "max_latency": 0.02}, ""),
    ],
    ids=str,
)
def test_a_limit_that_was_not_reached_is_told(tmp_path: Path, limit: dict[str, float], words: str) -> None:
    run = from_journal(write_run(tmp_path / "run"))
    found = " ".join(verdict(replace(run, settings=replace(run.settings, **limit)))).replace(fmt.SPACE, " ")
    assert ("allowed" in found) == bool(words)
    assert words in found


def test_a_tolerance_finer_than_the_validation_part_is_told() -> None:
    data = digits(60)
    samples = len(data.validation)
    fine = EvolveSettings("digits", objective="size", tolerance=0.5 / samples)
    assert f"{samples}{fmt.SPACE}samples" in caution(fine, data)
    assert "--tolerance" in caution(fine, data)
    assert caution(replace(fine, tolerance=1.5 / samples), data) == ""
    assert caution(replace(fine, objective="accuracy"), data) == ""


@pytest.mark.parametrize(
    ("interval", "expected"),
    [((0.6, 0.7), "is better"), ((0.9, 0.95), "is worse"), ((0.75, 0.85), "do not tell")],
)
def test_the_headline_claims_no_more_than_the_intervals_where_no_pairs_are_known(
    tmp_path: Path, interval: tuple[float, float], expected: str
) -> None:
    run = replace(from_journal(write_run(tmp_path / "run")), difference=None)
    assert run.alone is not None
    assert expected in headline(replace(run, alone=replace(run.alone, interval=interval))).sentences[1]
