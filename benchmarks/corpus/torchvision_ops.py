"""Lets torchvision's model definitions be imported where its compiled part does not fit the installed torch.

torchvision's wheel is compiled against one build of torch. Against another one (the CPU build, say) the shared library does not load,
which torchvision tolerates, and then `torchvision/_meta_registrations.py` fails all the same: it registers shape functions for
`torchvision::nms` and `torchvision::qnms` without asking whether they exist ("operator torchvision::nms does not exist"). Classifiers
use neither. So the two are declared here, without an implementation, before torchvision is imported for the first time; calling one
still fails, as it should.
"""

from __future__ import annotations

import importlib
import sys

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
# A Library takes its declarations along when it is collected.
_declared: list[torch.library.Library] = []


def declare() -> None:
    """Import torchvision, with stand-ins for its operators where its own cannot be loaded."""
    if _declared:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        # What was imported half stays in sys.modules and would be taken for the whole.
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for schema in _SCHEMAS:
            library.define(schema)
        _declared.append(library)
        importlib.import_module("torchvision")
