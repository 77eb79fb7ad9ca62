"""The command line of the corpus.

python -m benchmarks.corpus list [--family F]
python -m benchmarks.corpus export FOLDER [--family F] [--only REGEX] [--max-parameters N] [--jobs 1]
"""

from __future__ import annotations

import argparse
import re
import time
import traceback
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from . import export_checked, families, file_name, names


def main() -> int:
    """List or export; the exit status is 1 if something failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpus", description="Models with random weights.")
    commands = parser.add_subparsers(dest="command", required=True)
    for command in ("list", "export"):
        sub = commands.add_parser(command)
        if command == "export":
            sub.add_argument("folder", type=Path)
            sub.add_argument("--max-parameters", type=int, default=None, help="leave out what is larger")
            sub.add_argument("--jobs", type=int, default=1, help="processes")
            sub.add_argument("--traceback", action="store_true", help="of every failure")
        sub.add_argument("--family", choices=families(), default=None)
        sub.add_argument("--only", default="", metavar="REGEX", help="names that it is found in")
    arguments = parser.parse_args()
    chosen = [name for name in names(arguments.family) if re.search(arguments.only, name)]
    if arguments.command == "list":
        print("\n".join(chosen))
        return 0
    return _export_all(chosen, arguments)


def _export_all(chosen: list[str], arguments: argparse.Namespace) -> int:
    missing = [name for name in chosen if not (arguments.folder / file_name(name)).exists()]
    print(f"{len(chosen) - len(missing)} of {len(chosen)} are there", flush=True)
    one = partial(_export_one, arguments.folder, arguments.max_parameters, arguments.traceback)
    failures = []
    if arguments.jobs == 1:
        results = map(one, missing)
    else:
        # Fresh processes: torch does not survive a fork once it has started its threads.
        pool = ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn"))
        results = pool.map(one, missing)
    for name, line, failure in results:
        print(line, flush=True)
        if failure:
            failures.append((name, failure))
    if failures:
        print(f"\n{len(failures)} failed:")
        for name, failure in failures:
            print(f"  {name}: {failure}")
    return 1 if failures else 0


def _export_one(folder: Path, max_parameters: int | None, trace: bool, name: str) -> tuple[str, str, str]:
    start = time.perf_counter()
    try:
        outcome = export_checked(name, folder, max_parameters)
    except Exception as error:  # noqa: BLE001  (exporters and engines raise whatever they like)
        if trace:
            traceback.print_exc()
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return name, f"{name:55s} {time.perf_counter() - start:6.1f} s  FAILED {reason}", reason
    if outcome.path is None:
        return name, f"{name:55s} left out, {outcome.parameters:,} parameters", ""
    line = f"{name:55s} {time.perf_counter() - start:6.1f} s {outcome.parameters:>13,} parameters"
    line += f"\n    batch is fixed: {outcome.static}" if outcome.static else ""
    line += "".join(f"\n    warning: {text}" for text in outcome.warnings)
    return name, line, ""


if __name__ == "__main__":
    raise SystemExit(main())
