"""Evolution: the Surgeon, its races and the record of what it did."""

from pysurgeon.evolution.calibration_data import calibrated, slope
from pysurgeon.evolution.checkpoint import Checkpoint
from pysurgeon.evolution.executor import Executor, SerialExecutor, ThreadExecutor
from pysurgeon.evolution.journal import Journal
from pysurgeon.evolution.plan import Plan
from pysurgeon.evolution.run import (
    Compute,
    EvolveResult,
    Figures,
    Measured,
    Member,
    Steps,
    begin,
    check,
    free_folder,
    go_on,
    history_of,
    line_of,
    load_data,
    open_run,
    read,
)
from pysurgeon.evolution.surgeon import Observer, Setup, Silent, Surgeon
from pysurgeon.settings import EvolveSettings

__all__ = [
    "Checkpoint",
    "Compute",
    "EvolveResult",
    "EvolveSettings",
    "Executor",
    "Figures",
    "Journal",
    "Measured",
    "Member",
    "Observer",
    "Plan",
    "SerialExecutor",
    "Setup",
    "Silent",
    "Steps",
    "Surgeon",
    "ThreadExecutor",
    "begin",
    "calibrated",
    "check",
    "free_folder",
    "go_on",
    "history_of",
    "line_of",
    "load_data",
    "open_run",
    "read",
    "slope",
]
