"""Reports: what a person looks at, and what `--json` prints."""

from pysurgeon.report.compare import Compared, Comparison, compare
from pysurgeon.report.conclusions import caution, verdict
from pysurgeon.report.json_output import (
    InspectResult,
    LayerDocument,
    ModelDocument,
    PortDocument,
    WidthDocument,
    apply_json,
    document,
    evolve_json,
    inspect,
    inspect_json,
    recommend_json,
)
from pysurgeon.report.page import render, write_report
from pysurgeon.report.printable import Printable
from pysurgeon.report.progress import LiveObserver, RunPlan, TrainProgress
from pysurgeon.report.run_summary import RunRecord, from_journal
from pysurgeon.report.shrunk import WidthCut, shrink_table
from pysurgeon.report.tables import (
    beside_file,
    comparison_table,
    inspection,
    layers_table,
    recommendations_table,
    records_table,
    result_table,
    runs_table,
    training_table,
    widths_table,
)

__all__ = [
    "Compared",
    "Comparison",
    "InspectResult",
    "LayerDocument",
    "LiveObserver",
    "ModelDocument",
    "PortDocument",
    "Printable",
    "RunPlan",
    "RunRecord",
    "TrainProgress",
    "WidthCut",
    "WidthDocument",
    "apply_json",
    "beside_file",
    "caution",
    "compare",
    "comparison_table",
    "document",
    "evolve_json",
    "from_journal",
    "inspect",
    "inspect_json",
    "inspection",
    "layers_table",
    "recommend_json",
    "recommendations_table",
    "records_table",
    "render",
    "result_table",
    "runs_table",
    "shrink_table",
    "training_table",
    "verdict",
    "widths_table",
    "write_report",
]
