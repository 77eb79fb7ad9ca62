"""Let graphs be judged, and print what was wrong."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from benchmarks.graphs import __doc__ as about
from benchmarks.graphs.checking import FACTOR, FLOOR, Verdict, judged
from benchmarks.graphs.running import run
from benchmarks.graphs.whole import written


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.graphs", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first graph")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most", type=int, default=12, help="operations on every graph beside ten in a row; 0: all")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="this graph alone, in this process")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="write graphs at which something was wrong there")
    given = parser.parse_args(arguments)
    if given.only is not None:
        numbers, verdicts = range(1), iter([judged(given.seed, given.only, given.most)])
    else:
        numbers = range(given.first, given.first + given.count)
        verdicts = run(given.seed, numbers, given.most)
    found = []
    for verdict in verdicts:
        found.append(verdict)
        for kind, detail in verdict.faults:
            print(f"{verdict.number}: {kind} | {detail}", flush=True)
        if verdict.faults and given.keep is not None:
            given.keep.mkdir(parents=True, exist_ok=True)
            proto = written(given.seed, verdict.number).proto
            (given.keep / f"{given.seed}-{verdict.number}.onnx").write_bytes(proto.SerializeToString())
        if len(found) % 50 == 0:
            print(f"{len(found)} of {len(numbers)} graphs, {sum(len(v.faults) for v in found)} faults", flush=True)
    return report(found)


def report(found: list[Verdict]) -> int:
    """Print what was done and what was wrong; 1 if something was."""
    counts: Counter[str] = sum((v.counts for v in found), Counter())
    print(f"\n{len(found)} graphs: {', '.join(f'{what} {n}' for what, n in sorted(counts.items()))}")
    errors = [e for v in found for e in v.errors]
    for kind in sorted({e[0] for e in errors}):
        ratios = sorted(m / max(p, FLOOR / FACTOR) for k, p, m in errors if k == kind)
        middle, high = ratios[len(ratios) // 2], ratios[int(0.99 * len(ratios))]
        print(f"{kind}: measured over predicted error, median {middle:.2f}, 99 of 100 below {high:.2f} ({len(ratios)})")
    faults = [(kind, v.number) for v in found for kind, _ in v.faults]
    print(f"{len(faults)} faults")
    for kind, count in Counter(kind for kind, _ in faults).most_common():
        numbers = dict.fromkeys(n for k, n in faults if k == kind)
        print(f"{count:6} {kind} (graphs {', '.join(map(str, list(numbers)[:6]))}{' ...' if len(numbers) > 6 else ''})")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
