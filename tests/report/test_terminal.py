from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from pysurgeon.diagnosis import diagnose, recommend
from pysurgeon.evolution import EvolveSettings, read
from pysurgeon.evolution.race import Halving, rungs
from pysurgeon.evolution.strategies.proposals import by_chance
from pysurgeon.evolution.strategy import Round, Strategy
from pysurgeon.model import from_proto
from pysurgeon.model.timing import Ratio, Timing
from pysurgeon.report import (
    Compared,
    Comparison,
    LiveObserver,
    RunPlan,
    TrainProgress,
    compare,
    comparison_table,
    inspect,
    layers_table,
    recommendations_table,
    records_table,
    result_table,
    widths_table,
)
from pysurgeon.report import _format as fmt
from pysurgeon.settings import Objective
from pysurgeon.surgery import Calibration, operate, parse
from pysurgeon.widths.structure import Structure
from tests.models import build
from tests.report.lineage import events, network, write_run

# That of the run in `lineage`: four branches a race, the parent among them.
PLAN = Strategy(100, (Round(10, 40, by_chance, Halving(), 3), Round(40, 75, by_chance, Halving(), 3)))

LONG = "backbone.stages.3.blocks.11.attention.projection_of_the_values"


def _shown(table: RenderableType, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _tables(layer: str, folder: Path) -> dict[str, RenderableType]:
    model = network(layer)
    structure, calibration = Structure(model), Calibration(model)
    done = operate(model, parse(f"widen:{layer}=9"))
    result = read(write_run(folder, layer=layer))
    assert result is not None
    return {
        "widths": widths_table(structure),
        "layers": layers_table(structure),
        "recommendations": recommendations_table(
            recommend(diagnose(structure, calibration), calibration, accuracy=0.5)
        ),
        "records": records_table([done.record]),
        "result": result_table(result),
        "comparison": comparison_table(compare(model, done.model), (f"{LONG}.onnx", "b.onnx")),
        "large": comparison_table(
            Comparison(
                0.5,
                Compared(0.7123, 3, 2, Timing(0.001, 0.001, 0.001)),
                Compared(0.91, 123_456_789_012, 987_654_321_098, Timing(12_345.6, 12_300.0, 12_400.0)),
                Ratio(12_345_678.9, 12_300_000.0, 12_400_000.0, "slower"),
                1.0,
            ),
            (f"{LONG}.onnx", f"{LONG}.onnx"),
        ),
    }


@pytest.mark.parametrize("layer", ["fc1", LONG, "[red]fc[/red]", "a\x1b[2Jb"])
def test_tables_fit_80_columns_and_cut_no_number(tmp_path: Path, layer: str) -> None:
    for name, table in _tables(layer, tmp_path / "run").items():
        text = _shown(table)
        assert all(len(line.rstrip()) <= 80 for line in text.splitlines()), name
        assert "\x1b" not in text
        # Rich cuts a cell that does not fit with an ellipsis at its end; names are shortened in their middle.
        assert not any(word.endswith("…") for word in text.split()), text
    assert "[red]" not in layer or "[red]fc" in _shown(_tables(layer, tmp_path / "again")["widths"])


@pytest.mark.parametrize("layer", ["fc1", LONG])
def test_an_operation_and_a_name_can_be_copied(tmp_path: Path, layer: str) -> None:
    tables = _tables(layer, tmp_path / "run")
    for name in ("widths", "layers", "result"):
        assert layer in _shown(tables[name])
    assert f"widen:{layer}=9" in _shown(tables["records"])
    model = network(layer)
    calibration = Calibration(model)
    found = recommend(diagnose(Structure(model), calibration), calibration, accuracy=0.5)
    assert any(layer in str(r.operation) for r in found)
    shown = _shown(recommendations_table(found))
    assert all(str(r.operation) in shown for r in found)
    # Where there is room, a name stands beside its figures.
    wide = _shown(tables["records"], 160).splitlines()
    assert "exact" in next(line for line in wide if layer in line)


def test_what_is_not_obvious_in_a_table_of_widths_is_explained() -> None:
    found = inspect(network())
    plain = _shown(widths_table(found))
    assert "×" not in plain
    assert "not exactly" not in plain
    width = replace(found.widths[0], size=4, multiple=24, exact=False)
    text = " ".join(_shown(widths_table(replace(found, widths=(width,)))).split())
    assert "4 × 24: 4 units of 24 elements each" in text
    assert "widen:fc1=8" in text
    assert "not exactly: it can be resized" in text


def test_tables_say_why_not() -> None:
    model = from_proto(build("cnn.legacy"))
    structure = Structure(model)
    assert "Why not" in _shown(widths_table(structure))
    text = " ".join(_shown(layers_table(structure)).split())
    assert "insert, remove: layer '8' gives the model's output" in text
    assert text.count("gives the model's output") == 1


def test_the_genome_is_grouped_by_site(tmp_path: Path) -> None:
    text = _shown(_tables("fc1", tmp_path / "run")["result"])
    assert "fc1  widen → 8, insert" in text
    assert "84.0" in text


def test_without_a_terminal_there_is_a_line_a_generation() -> None:
    console = Console(width=40, file=io.StringIO(), force_terminal=False)
    with LiveObserver(console, RunPlan(PLAN)) as observer:
        for event in events("fc1"):
            observer.training(event.get("branch", "start"), 5, 1.0)
            observer.happened(event)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert lines == [
        ("generation 1 of 2: widen:fc1=8, insert:fc1 won at step 40, validation accuracy 75.0 %, 139 parameters"),
        "g2-1 diverged: widen:fc2=9",
        ("generation 2 of 2: the parent, unchanged, won at step 75, validation accuracy 80.0 %, 139 parameters"),
        "done: test accuracy 84.0 %, the start alone 70.0 %",
    ]


def test_on_a_terminal_the_race_is_shown() -> None:
    console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system=None, legacy_windows=False)
    observer = LiveObserver(console, RunPlan(PLAN))
    for event in events("fc1")[:7]:
        observer.happened(event)
    observer.happened({"event": "rung", "survivors": ["start", "g1-1"]})
    observer.training("g1-1", 33, 0.75)
    with observer:
        pass
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "generation 1/2" in text
    assert "widen:fc1=8, insert:fc1" in text
    assert "loss 0.750" in text
    assert "65.0" in text
    assert "refused" in text


def _phases(observer: LiveObserver, console: Console) -> Iterator[tuple[str, str]]:
    """What the display says is going on after each event of a run."""
    assert isinstance(console.file, io.StringIO)
    for event in events("fc1"):
        observer.happened(event)
        console.file.truncate(console.file.seek(0))
        console.print(observer._display())
        yield event["event"], re.split(r"\s{2,}|━|╸", console.file.getvalue().strip())[0]


def test_the_display_says_when_operations_are_looked_for() -> None:
    console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system=None, legacy_windows=False)
    seen = list(_phases(LiveObserver(console, RunPlan(PLAN)), console))
    before = [phase for (_, phase), (then, _) in pairwise(seen) if then == "candidates"]
    assert before == ["looking for operations"] * 2
    assert {phase for event, phase in seen if event == "branched"} == {"generation 1/2", "generation 2/2"}
    assert [phase for event, phase in seen if event == "selected"] == ["looking for operations", "training the trunk"]


@pytest.mark.timeout(60)
def test_threads_may_report_at_once() -> None:
    console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system=None, legacy_windows=False)
    failures: list[BaseException] = []

    def work(observer: LiveObserver, branch: str) -> None:
        try:
            for step in range(200):
                observer.training(branch, step, 1.0)
                observer.happened(events("fc1")[step % 21])
        except BaseException as error:  # noqa: BLE001 (the test shows whatever it was)
            failures.append(error)

    with LiveObserver(console, RunPlan(PLAN)) as observer:
        threads = [threading.Thread(target=work, args=(observer, f"g1-{k}")) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def test_training_one_model_shows_its_steps() -> None:
    console = Console(width=80, file=io.StringIO(), force_terminal=True, color_system=None, legacy_windows=False)
    progress = TrainProgress(console, 200)
    progress.training("model", 50, 0.5)
    with progress:
        pass
    assert isinstance(console.file, io.StringIO)
    assert "step 50/200" in console.file.getvalue()
    quiet = Console(width=80, file=io.StringIO(), force_terminal=False)
    with TrainProgress(quiet, 200) as lines:
        for step in (19, 20, 39, 45):
            lines.training("model", step, 0.5)
    assert isinstance(quiet.file, io.StringIO)
    assert quiet.file.getvalue().splitlines() == [f"step {k} of 200, training loss 0.500" for k in (20, 45)]


def test_training_one_model_shows_what_is_measured() -> None:
    measured = {"event": "measured", "step": 20, "loss": 0.4, "accuracy": 0.75, "metric": "accuracy"}
    for is_terminal in (True, False):
        console = Console(
            width=80, file=io.StringIO(), force_terminal=is_terminal, color_system=None, legacy_windows=False
        )
        with TrainProgress(console, 200) as progress:
            progress.happened(measured)
            progress.training("model", 25, 0.5)
        assert isinstance(console.file, io.StringIO)
        text = console.file.getvalue().replace(fmt.SPACE, " ")
        line = "step 20 of 200, training loss 0.400, validation accuracy 75.0 %"
        if is_terminal:  # above the bar, which goes
            assert line in text
            assert "step 25/200" in text
        else:
            assert text.splitlines() == [line]


def test_the_plan_counts_all_branches() -> None:
    first, second = PLAN.rounds
    expected = first.begin
    for now in PLAN.rounds:
        rung, *_ = rungs(now.begin, now.end)
        expected += 4 * (rung - now.begin) + 2 * (now.end - rung)
    assert first.end == second.begin
    assert RunPlan(PLAN).steps == expected + (100 - second.end) + 100
    assert RunPlan(Strategy(100, ())).steps == 200


@pytest.mark.parametrize("objective", ["accuracy", "size", "pareto"])
def test_between_races_what_is_carried_on_trains_alone(objective: Objective) -> None:
    plan = RunPlan(Strategy.of(EvolveSettings("digits", objective=objective), 1000))
    taken = [plan.steps_before(k) for k in range(plan.rounds + 1)]
    assert taken == sorted(taken)
    carried, step = 1, 0
    for k, now in enumerate(plan.strategy.rounds):
        # Whoever trains between races is counted once for each that goes on.
        assert taken[k] >= now.begin
        assert taken[k + 1] - taken[k] >= now.race.steps(now.begin, now.end, carried + now.branches)
        carried, step = now.race.carried, now.end
    assert taken[-1] >= step + carried * (1000 - step)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (9999, "9,999"), (12345, "12.3 k"), (999_999, "1.00 M"), (-45678, "−45.7 k"), (3.2e9, "3.20 G")],
)
def test_counts_are_short(value: int, text: str) -> None:
    assert fmt.short(value).replace(fmt.SPACE, " ") == text


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (100, 340, "3.40 ×"),
        (100, 112, "+12 %"),
        (100, 92, "−8.0 %"),
        (100, 50, "−50 %"),
        (100, 100, "±0 %"),
        (0, 5, "–"),
    ],
)
def test_changes_are_written_as_people_say_them(before: float, after: float, text: str) -> None:
    assert fmt.change(before, after).replace(fmt.SPACE, " ") == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (3.1e-7, "3.1e−07"), (0.248, "24.8 %"), (93.2, "93.2 ×"), (float("inf"), "∞")]
)
def test_errors(value: float, text: str) -> None:
    assert fmt.error(value).replace(fmt.SPACE, " ") == text


@pytest.mark.parametrize(
    ("value", "text"), [(9.996, "10.0"), (0.0745, "0.0745"), (1234567, "1,234,567"), (1e-9, "1.00e−09")]
)
def test_significant_digits(value: float, text: str) -> None:
    assert fmt.significant(value) == text
