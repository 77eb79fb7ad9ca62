from __future__ import annotations

from pathlib import Path

import pytest

from pysurgeon.evolution import Figures, read
from pysurgeon.report import run_summary
from pysurgeon.report.architecture import LayerChange, LayerFacts, layer_changes
from pysurgeon.report.command import evolve_command
from pysurgeon.report.run_summary import BranchRecord, Effort, GenerationRecord, OperationRecord, Success, from_journal
from pysurgeon.report.statistics import at_least, wilson
from tests.report.lineage import write_run

EVIDENCE = (("activation_rank", 5), ("error_without_cheapest_unit", 0.25))


def test_a_generation_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = from_journal(write_run(tmp_path / "run"))
    narrow = OperationRecord("narrow:fc1=3", "narrow", "fc1", 3, False, 0.2, 0.15, "because", ())
    remove = OperationRecord("remove:fc2", "remove", "fc2", None, None, None, None, "", (("linearity", 0.9),))
    doubled = (
        OperationRecord("widen:fc1=8", "widen", "fc1", 8, True, 0.0, 1e-7, "because", EVIDENCE),
        OperationRecord("insert:fc1", "insert", "fc1", None, True, 0.0, 0.0, "because", (("linearity", 0.5),)),
    )
    refusal = "it gives the model's output"
    winner = BranchRecord(
        "g1-1",
        "start",
        "doubled",
        1,
        doubled,
        0.2,
        139,
        120,
        "won",
        "",
        ((10, 0.5), (20, 0.65), (40, 0.75)),
        pytest.approx(0.15),
    )
    assert run.generations[0] == GenerationRecord(
        number=1,
        begin=10,
        end=40,
        branches=(
            BranchRecord(
                "start",
                "start",
                "parent",
                0,
                (),
                0.0,
                51,
                42,
                "lost",
                "",
                ((10, 0.5), (15, 0.52), (20, 0.55), (40, 0.6)),
                None,
            ),
            winner,
            BranchRecord("g1-2", "start", "recommended", 2, (remove,), 0.1, 51, 42, "refused", refusal, (), None),
            BranchRecord(
                "g1-3",
                "start",
                "random",
                0,
                (narrow,),
                0.0,
                27,
                21,
                "lost",
                "",
                ((10, 0.5), (20, 0.45)),
                pytest.approx(-0.1),
            ),
        ),
        taken=winner,
    )


def test_a_branch_that_diverged_says_so(tmp_path: Path) -> None:
    run = from_journal(write_run(tmp_path / "run"))
    branch = run.generations[1].branches[1]
    assert (branch.fate, branch.reason, branch.gain) == ("diverged", "diverged at step 50", None)
    assert run.generations[1].winner is run.generations[1].taken is run.generations[1].parent_of(branch)


def test_the_trunk_is_followed_through_its_winners(tmp_path: Path) -> None:
    journal = write_run(tmp_path / "run")
    run = from_journal(journal)
    assert run.trunk == ((10, 0.5), (20, 0.65), (40, 0.75), (75, 0.8), (100, 0.85))
    assert run.alone_curve == ((50, 0.6), (100, 0.7))
    assert run.trunk_effort == Effort(100, 10.0, 100_000)
    assert run.alone_effort == Effort(100, 10.0, 100_000)
    result = read(journal)
    assert result is not None
    assert run.all_effort.steps == result.steps.all_branches == 100 + 10 + 10 + 20 + 10 + 35
    # Two generations were planned, and five branches made.
    assert run.all_effort.compute == result.compute.all_branches == 185 * 1000 + 2 * 1000 + 5 * 100
    assert (result.compute.trunk, result.compute.alone) == (100_000, 100_000)
    assert run.trunk_spending == ((10_000, 0.5), (20_000, 0.65), (40_000, 0.75), (75_000, 0.8), (100_000, 0.85))
    assert run.alone_spending == ((50_000, 0.6), (100_000, 0.7))


def test_test_figures_come_with_their_interval(tmp_path: Path) -> None:
    run = from_journal(write_run(tmp_path / "run"))
    assert run.finished
    assert run.alone == run_summary.Tested(Figures(51, 42, 0.7, 0.01), wilson(0.7, 400))
    assert run.result is not None
    assert run.result.figures.parameters == 139


def test_recommendations_are_judged_beside_chance(tmp_path: Path) -> None:
    random = (-0.1, -0.02)
    assert from_journal(write_run(tmp_path / "run")).success == (
        # Three raced in each generation: the second recommendation of the first was refused.
        Success("doubled", 1, 1, pytest.approx(1 / 3), pytest.approx(1 / 3), pytest.approx(0.15)),
        Success("recommended", 1, 0, pytest.approx(1 / 3), 1.0, None),
        Success("random", 2, 0, pytest.approx(2 / 3), 1.0, pytest.approx(sum(random) / 2)),
        Success("parent", 2, 1, pytest.approx(2 / 3), pytest.approx(1 - (2 / 3) ** 2), None),
    )


def test_architectures_are_laid_side_by_side(tmp_path: Path) -> None:
    run = from_journal(write_run(tmp_path / "run"))
    assert run.layers == (
        LayerChange(LayerFacts("fc1", "Gemm", 6, 30, 24), LayerFacts("fc1", "Gemm", 8, 40, 32)),
        LayerChange(None, LayerFacts("fc1.next", "Gemm", 8, 72, 64)),
        LayerChange(LayerFacts("fc2", "Gemm", 3, 21, 18), LayerFacts("fc2", "Gemm", 3, 27, 24)),
    )
    assert [row.status for row in run.layers] == ["changed", "new", "changed"]


def test_a_layer_that_went_stands_where_it_was() -> None:
    a, b, c = (LayerFacts(name, "Gemm", 4, 20, 16) for name in "abc")
    rows = layer_changes([a, b, c], [a, c])
    assert [(row.name, row.status) for row in rows] == [("a", "unchanged"), ("b", "gone"), ("c", "unchanged")]


@pytest.mark.parametrize("upto", range(21))
def test_a_run_can_be_read_after_every_event(tmp_path: Path, upto: int) -> None:
    run = from_journal(write_run(tmp_path / "run", upto=upto))
    assert run.finished == (upto > 20)
    assert len(run.generations) == (upto >= 2) + (upto >= 12)
    assert run.trunk_effort.steps <= run.all_effort.steps


def test_a_run_whose_models_were_taken_away_is_still_read(tmp_path: Path) -> None:
    journal = write_run(tmp_path / "run")
    (tmp_path / "run" / "start.onnx").unlink()
    assert from_journal(journal).layers == ()


def test_the_command_names_what_differs_from_the_defaults(tmp_path: Path) -> None:
    run = from_journal(write_run(tmp_path / "my run"))
    command = evolve_command(run.settings, Path("my run/start.onnx"))
    assert command == (
        "pysurgeon evolve 'my run/start.onnx' --data digits --seed 3 --steps 100 --generations 2 --branches 2 --workers 1"
    )


def test_wilson_agrees_with_a_published_example() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263.
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0.0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1.0, 20) == pytest.approx((0.8389, 1.0), abs=5e-5)


def test_poisson_binomial_agrees_with_counting() -> None:
    assert at_least(0, [0.3, 0.6]) == pytest.approx(1.0)
    assert at_least(1, [0.3, 0.6]) == pytest.approx(1 - 0.7 * 0.4)
    assert at_least(2, [0.3, 0.6]) == pytest.approx(0.18)
    assert at_least(3, [0.3, 0.6]) == 0.0
