"""The Python interface: what the commands do, as functions. Results are frozen dataclasses with the keys of `--json`."""

from pysurgeon.api.models import apply, compare, doctor, inspect, recommend
from pysurgeon.api.results import ApplyResult, DoctorResult, RecommendResult, Run, ShrinkResult, TrainOutcome
from pysurgeon.api.runs import evolve, read, resume
from pysurgeon.api.shrinking import shrink
from pysurgeon.api.training import CHECKPOINT_SECONDS, train

__all__ = [
    "CHECKPOINT_SECONDS",
    "ApplyResult",
    "DoctorResult",
    "RecommendResult",
    "Run",
    "ShrinkResult",
    "TrainOutcome",
    "apply",
    "compare",
    "doctor",
    "evolve",
    "inspect",
    "read",
    "recommend",
    "resume",
    "shrink",
    "train",
]
