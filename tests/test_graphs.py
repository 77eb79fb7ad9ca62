"""Graphs that no test wrote, judged from outside; `python -m benchmarks.graphs` tries many more."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.graphs.__main__ import report
from benchmarks.graphs.checking import Expected, Verdict, judged
from benchmarks.graphs.whole import written


@pytest.mark.parametrize("number", range(500, 506))
def test_nothing_is_wrong_with_a_graph(number: int) -> None:
    verdict = judged(0, number, most=3)
    assert verdict.counts["loaded"] == 1
    assert verdict.faults == []


def test_what_is_wrong_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    whole = written(0, 4)
    expected = Expected.of(whole)
    proto = type(whole.proto).FromString(whole.proto.SerializeToString())
    assert expected.against(proto.SerializeToString())[0] == ""
    tensor = next(t for t in proto.graph.initializer if t.raw_data and t.data_type == 1 and len(t.dims) == 2)
    tensor.raw_data = (np.frombuffer(tensor.raw_data, np.float32) * np.float32(1.01)).tobytes()
    assert expected.against(proto.SerializeToString())[0].startswith("differs by")
    assert report([Verdict(3, faults=[("load", "x"), ("load", "y")]), Verdict(4)]) == 1
    assert "     2 load (graphs 3)" in capsys.readouterr().out
    assert report([Verdict(4)]) == 0
