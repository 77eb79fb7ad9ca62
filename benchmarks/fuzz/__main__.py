"""Give cases to workers, count how they end, and print what must not happen."""

from __future__ import annotations

import argparse
import sys
import threading
from collections import Counter
from collections.abc import Iterator

from benchmarks.fuzz.worker import KINDS, Outcome, Worker

GOOD = ("ok", "refused")


def main(arguments: list[str] | None = None) -> int:
    """Print the counts and what went wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument(
        "--only", type=int, metavar="NUMBER", help="this case alone, in this process, with its traceback"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args(arguments)
    if given.only is not None:
        print(KINDS[given.kind]().run(given.seed, given.only))
        return 0
    outcomes = run(given.kind, range(given.first, given.first + given.count), seed=given.seed, workers=given.workers)
    return report(outcomes)


def run(kind: str, numbers: range, *, seed: int, workers: int) -> list[Outcome]:
    """How cases of these numbers end."""
    waiting: Iterator[int] = iter(numbers)
    lock, found = threading.Lock(), list[Outcome]()

    def work() -> None:
        with Worker(kind, seed) as worker:
            while True:
                with lock:
                    number = next(waiting, None)
                if number is None:
                    return
                outcome = worker.run(number)
                with lock:
                    found.append(outcome)
                    if outcome.end not in GOOD:
                        print(f"{outcome.number}: {outcome.end} {outcome.detail}", flush=True)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(found, key=lambda o: o.number)


def report(outcomes: list[Outcome]) -> int:
    """Print the counts; 1 if something happened that must not."""
    print(
        f"\n{len(outcomes)} cases:",
        ", ".join(f"{count} {end}" for end, count in Counter(o.end for o in outcomes).most_common()),
    )
    bad = [o for o in outcomes if o.end not in GOOD]
    for (end, detail), count in Counter((o.end, o.detail.partition(" | ")[0]) for o in bad).most_common():
        print(
            f"{count:6} {end} {detail} (such as {next(o.number for o in bad if (o.end, o.detail.partition(' | ')[0]) == (end, detail))})"
        )
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
