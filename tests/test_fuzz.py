"""Changed files end in an answer or in one of our errors; `python -m benchmarks.fuzz` tries many more."""

from __future__ import annotations

import pytest

from benchmarks.fuzz.__main__ import GOOD, report, run
from benchmarks.fuzz.worker import Outcome, _case


@pytest.mark.parametrize(("kind", "count"), [("models", 150), ("data", 30)])
def test_changed_files(kind: str, count: int) -> None:
    outcomes = run(kind, range(count), seed=0, workers=2)
    assert [o.number for o in outcomes] == list(range(count))
    assert [o for o in outcomes if o.end not in GOOD] == []
    assert any(o.end == "ok" for o in outcomes)
    assert any(o.end == "refused" for o in outcomes)


def test_what_must_not_happen_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    class Breaking:
        def run(self, seed: int, number: int) -> str:
            return [][number]

    assert _case(Breaking(), 0, 3).startswith("exception IndexError at test_fuzz.py")
    assert report([Outcome(0, "ok", ""), Outcome(1, "signal", "SIGSEGV"), Outcome(2, "signal", "SIGSEGV")]) == 1
    assert "     2 signal SIGSEGV (such as 1)" in capsys.readouterr().out
    assert report([Outcome(0, "ok", ""), Outcome(1, "refused", "ModelError")]) == 0
