"""Operations on a model: data that is planned, applied in one place and verified by running both models."""

from pysurgeon.surgery.calibration import Calibration
from pysurgeon.surgery.edits.apply import apply_edit, carry
from pysurgeon.surgery.operation import Operated, Operation, Plan, Record, operate
from pysurgeon.surgery.operations.bypass import AddBypass
from pysurgeon.surgery.operations.factorize import Factorize
from pysurgeon.surgery.operations.insert_layer import InsertLayer
from pysurgeon.surgery.operations.narrow import Narrow
from pysurgeon.surgery.operations.remove_layer import RemoveLayer
from pysurgeon.surgery.operations.widen import Widen
from pysurgeon.surgery.registry import parse

__all__ = [
    "AddBypass",
    "Calibration",
    "Factorize",
    "InsertLayer",
    "Narrow",
    "Operated",
    "Operation",
    "Plan",
    "Record",
    "RemoveLayer",
    "Widen",
    "apply_edit",
    "carry",
    "operate",
    "parse",
]
