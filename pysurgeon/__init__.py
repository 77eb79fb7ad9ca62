"""pysurgeon operates on the topology of a trained ONNX network while it trains, and hands back a better ONNX file.

    import pysurgeon as ps

    model = ps.load("model.onnx")
    print(ps.inspect(model))
    wider = ps.apply(model, ps.Widen("conv1", 64)).model  # the same function with more units
    ps.save(wider, "wider.onnx")
    result = ps.evolve(model, "digits", run="runs/first")

What is imported here is imported when it is first used, so that `import pysurgeon` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pysurgeon.api import apply, compare, doctor, evolve, inspect, read, recommend, resume, shrink, train
    from pysurgeon.api.results import ApplyResult, DoctorResult, RecommendResult, Run, ShrinkResult, TrainOutcome
    from pysurgeon.errors import SurgeonError
    from pysurgeon.evolution import EvolveResult, Observer
    from pysurgeon.model import Model, load, save
    from pysurgeon.settings import EvolveSettings
    from pysurgeon.surgery import AddBypass, Factorize, InsertLayer, Narrow, RemoveLayer, Widen, parse

__version__ = "0.1.0"

_HOMES = {
    "pysurgeon.api": "apply compare doctor evolve inspect read recommend resume shrink train",
    "pysurgeon.errors": "SurgeonError",
    "pysurgeon.evolution": "EvolveResult Observer",
    "pysurgeon.model": "Model load save",
    "pysurgeon.api.results": "ApplyResult DoctorResult RecommendResult Run ShrinkResult TrainOutcome",
    "pysurgeon.settings": "EvolveSettings",
    "pysurgeon.surgery": "AddBypass Factorize InsertLayer Narrow RemoveLayer Widen parse",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "AddBypass",
    "ApplyResult",
    "DoctorResult",
    "EvolveResult",
    "EvolveSettings",
    "Factorize",
    "InsertLayer",
    "Model",
    "Narrow",
    "Observer",
    "RecommendResult",
    "RemoveLayer",
    "Run",
    "ShrinkResult",
    "SurgeonError",
    "TrainOutcome",
    "Widen",
    "apply",
    "compare",
    "doctor",
    "evolve",
    "inspect",
    "load",
    "parse",
    "read",
    "recommend",
    "resume",
    "save",
    "shrink",
    "train",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        message = f"module 'pysurgeon' has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME_OF])
