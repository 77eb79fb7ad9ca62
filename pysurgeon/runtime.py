"""What is installed to run models and to train them. Nothing heavy is imported to find out, and onnxruntime without torch."""

from __future__ import annotations

import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

# The training build looks for this part of itself when it is imported, which takes two seconds and 300 MB for torch.
_UNUSED = "onnxruntime.training.ortmodule"


@cache
def can_differentiate() -> bool:
    """Whether the onnxruntime that is installed is the training build; it is not imported to find out."""
    found = find_spec("onnxruntime")
    return found is not None and any(Path(p, "training").is_dir() for p in found.submodule_search_locations or ())


TrainerName = Literal["ort", "torch"]

# The engine where none is named: onnxruntime-training, where it is the onnxruntime that is installed.
DEFAULT_TRAINER: TrainerName = "ort" if can_differentiate() else "torch"


def onnxruntime() -> Any:
    """The module, imported when it is first asked for."""
    if "onnxruntime" not in sys.modules:
        sys.modules[_UNUSED] = None  # type: ignore[assignment]  # as if it were not installed
        try:
            import onnxruntime
        finally:
            del sys.modules[_UNUSED]
    import onnxruntime

    return onnxruntime


def own_version() -> str:
    """The version of this package, which is there as long as a part of it is."""
    return str(sys.modules["pysurgeon"].__version__)
