"""onnxruntime without torch, which it imports wherever that is installed."""

from __future__ import annotations

import sys
from typing import Any

# The training build looks for this part of itself when it is imported, which takes two seconds and 300 MB for torch.
_UNUSED = "onnxruntime.training.ortmodule"


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
