"""Operations on a model: data that is planned, applied in one place and verified by running both models."""

from pysurgeon.surgery.add_bypass import AddBypass
from pysurgeon.surgery.apply import apply_edit, carry
from pysurgeon.surgery.calibration import Calibration
from pysurgeon.surgery.factorize import Factorize
from pysurgeon.surgery.insert_layer import InsertLayer
from pysurgeon.surgery.narrow import Narrow
from pysurgeon.surgery.notation import parse
from pysurgeon.surgery.operation import Operated, Operation, Plan, Record, operate
from pysurgeon.surgery.remove_layer import RemoveLayer
from pysurgeon.surgery.widen import Widen

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
