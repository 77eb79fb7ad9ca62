"""What a run was made by and of, and what a file says about the run that it came from."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np

from pysurgeon.data import Dataset
from pysurgeon.graph import Array
from pysurgeon.model import Model
from pysurgeon.runtime import own_version
from pysurgeon.training import metric, with_input_metadata

_ENGINES = ("onnx", "onnxruntime", "onnxruntime-training", "torch")

ENTRY = "pysurgeon.run"
"""Key of the metadata of a file that says how it came about: a JSON object."""


def model_digest(model: Model) -> str:
    """SHA-256 of the names, types, shapes and values of a model's tensors, and of its operators in their order."""
    digest = hashlib.sha256(json.dumps([node.op_type for node in model.nodes]).encode())
    _update(digest, sorted(model.tensors().items()))
    return digest.hexdigest()


def data_digest(data: Dataset) -> str:
    """SHA-256 of the samples and labels of all parts and of the names of the classes."""
    digest = hashlib.sha256(json.dumps(data.classes).encode())
    for part in (data.train, data.validation, data.test):
        _update(digest, [*sorted((part.named or {"": part.x}).items()), ("y", part.y)])
    return digest.hexdigest()


def made_from(model: Model, data: Dataset) -> dict[str, str]:
    """The digests of a model as it was given and of the data."""
    return {"model": model_digest(model), "data": data_digest(data)}


def writer() -> dict[str, str]:
    """What writes a run, for whoever finds it later: versions, and the machine."""
    return {
        "pysurgeon": own_version(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        **{name: version for name in _ENGINES if (version := _version(name))},
        "system": platform.platform(),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors",
    }


def as_file(
    model: Model,
    data: Dataset,
    command: str,
    steps: int,
    digests: Mapping[str, str],
    figures: Mapping[str, Any],
    genome: Sequence[str] = (),
) -> Model:
    """The same network with notes in its file's metadata: what its input must be, and how it came about.

    Nothing in them depends on when or where that was, so latencies are left out.
    """
    facts = {
        "pysurgeon": own_version(),
        "command": command,
        "genome": list(genome),
        "steps": steps,
        "made_from": dict(digests),
        "metric": metric(data),
        "figures": {name: figure for name, figure in figures.items() if name != "latency_ms"},
    }
    return with_input_metadata(model, data).with_metadata({ENTRY: json.dumps(facts, sort_keys=True)})


def _version(distribution: str) -> str:
    """Of what is installed, whether it is imported or not; nothing of what is not."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _update(digest: Any, arrays: Iterable[tuple[str, Array]]) -> None:
    for name, array in arrays:
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        if array.size:
            digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
