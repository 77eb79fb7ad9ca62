"""How the tests of the command line give commands, and what one of them did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from pysurgeon import errors

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Done:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        assert self.status == 0, self.err
        found: dict[str, Any] = json.loads(self.out)
        return found


Command = Callable[..., Done]


def put(path: Path, proto: onnx.ModelProto) -> Path:
    path.write_bytes(proto.SerializeToString())
    return path


QUICK = ("--data", "digits", "--limit", "300", "--steps", "20", "--batch-size", "32")
IMAGES = np.random.default_rng(0).random((60, 1, 8, 8)).astype(np.float32)
LABELS = np.arange(60) % 10


def shell(*arguments: object, **environment: str) -> Done:
    """Runs a command in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "pysurgeon", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    return Done(done.returncode, done.stdout, done.stderr)


def complains(done: Done, status: int, *words: str, as_json: bool = False) -> None:
    """One sentence on stderr that holds these words, nothing on stdout but with `--json` the same, and this exit status."""
    assert done.status == status, done.err
    last = done.err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    if as_json:
        said = json.loads(done.out)["error"]
        assert said["message"] == last.removeprefix("error: ")
        assert issubclass(getattr(errors, said["type"]), errors.SurgeonError)
    else:
        assert done.out == ""
    for word in words:
        assert word in last, last
