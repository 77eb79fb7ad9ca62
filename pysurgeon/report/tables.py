"""Tables for the terminal; they fit into 80 columns. Names from model files never become markup or control codes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pysurgeon.diagnosis import Recommendation
from pysurgeon.evolution import EvolveResult, Figures
from pysurgeon.graph.widths import Structure
from pysurgeon.report import _format as fmt
from pysurgeon.report.compare import Comparison
from pysurgeon.report.documents import InspectResult, WidthDocument, inspect
from pysurgeon.surgery import Record, parse

_NAME = 26  # columns for a name; what does not fit is shortened in its middle
_NOT_POSSIBLE = "–"


def widths_table(source: Structure | InspectResult) -> RenderableType:
    """The widths of a model, and below why some cannot be resized."""
    found = _inspected(source)
    if not found.widths:
        return Text("No widths: no layer of this model holds a weight.")
    table = _table("Width", ("Units", "right"), ("Written by", "left"), ("Read by", "left"), ("Resizable", "left"))
    for width in found.widths:
        table.add_row(
            _name(width.name),
            fmt.count(width.size) + (f" × {width.multiple}" if width.multiple > 1 else ""),
            fmt.plural(len(width.writers), "tensor"),
            fmt.plural(len(width.readers), "tensor"),
            _resizable(width),
        )
    return _with_reasons(table, [(w.name, w.reason) for w in found.widths if w.reason])


def _resizable(width: WidthDocument) -> Text:
    if not width.resizable:
        return Text(_NOT_POSSIBLE, "dim")
    return Text("yes", "green") if width.exact else Text("not exactly", "yellow")


def layers_table(source: Structure | InspectResult) -> RenderableType:
    """The layers of a model with what can be done with them, and below why some things cannot."""
    found = _inspected(source)
    if not found.layers:
        return Text("No layers: no Conv, Gemm or MatMul of this model holds a weight.")
    table = _table(
        "Layer",
        ("Operator", "left"),
        ("Params", "right"),
        ("MACs", "right"),
        ("Insert", "center"),
        ("Remove", "center"),
        ("Factorize", "center"),
    )
    for layer in found.layers:
        flags = (layer.insertable, layer.removable, layer.factorizable)
        table.add_row(
            _name(layer.name, 17),
            Text(fmt.plain(layer.operator)),
            fmt.short(layer.parameters),
            fmt.short(layer.macs),
            *(Text("yes", "green") if flag else Text(_NOT_POSSIBLE, "dim") for flag in flags),
        )
    reasons = [(x.name, part) for x in found.layers for part in x.reason.split("; ") if part]
    return _with_reasons(table, reasons)


def recommendations_table(recommendations: Sequence[Recommendation]) -> RenderableType:
    """Ranked operations with what is expected of them; the evidence stands below each."""
    if not recommendations:
        return Text("No operation is possible here.")
    table = _table(
        "", ("Operation", "left"), ("Gain", "right"), ("Parameters", "right"), ("MACs", "right"), ("Score", "right")
    )
    for rank, r in enumerate(recommendations, start=1):
        evidence = ", ".join(fmt.evidence(name, value, brief=True) for name, value in r.evidence.items())
        operation = Text(fmt.shortened(fmt.plain(str(r.operation)), 32))
        if evidence:
            operation.append(f"\n{evidence}", "dim")
        table.add_row(
            str(rank),
            operation,
            fmt.points(r.expected_gain, 2),
            _signed(r.parameters),
            _signed(r.macs),
            fmt.points(r.score, 2),
        )
    notes = (
        "Gain and score are points of accuracy; the score is the gain less its price.",
        "rank: directions that carry signal; eff., stable: effective and stable rank;",
        "error: of the readers, as predicted or without the cheapest unit; R²: linearity;",
        "errors: share of the outputs' errors that the layer's input explains and what it gives does not.",
    )
    return Group(table, *(Text(note, "dim") for note in notes))


def records_table(records: Sequence[Record]) -> RenderableType:
    """What operations did: `pysurgeon apply`."""
    table = _table(
        "Operation",
        ("Predicted", "right"),
        ("There", "right"),
        ("Outputs", "right"),
        ("Parameters", "right"),
        ("MACs", "right"),
    )
    for record in records:
        text = Text(fmt.shortened(fmt.plain(record.operation), 28))
        text.append(f"\n{fmt.plain(record.reason)}", "dim")
        table.add_row(
            text,
            "exact" if record.exact else fmt.error(record.predicted_error),
            "–" if record.site_error is None else fmt.error(record.site_error),
            fmt.error(record.measured_error),
            _signed(record.after.parameters - record.before.parameters),
            _signed(record.after.macs - record.before.macs),
        )
    table.columns[0].no_wrap = False
    note = "Relative errors: predicted for what reads the place, measured there, and measured on the model's outputs."
    return Group(table, Text(note, "dim"))


def result_table(result: EvolveResult) -> RenderableType:
    """What a run came to, and the operations of the winner, grouped by site."""
    table = _table(
        "",
        (f"Test {result.metric}", "right"),
        ("Parameters", "right"),
        ("MACs", "right"),
        ("Latency", "right"),
    )
    rows: list[tuple[str, Figures | None, str]] = [
        ("Start as given", result.start, ""),
        ("Start trained alone", result.alone, ""),
        ("Result", result.result, "bold"),
        *((f"front/{member.output.name}", member.figures, "") for member in result.front[1:]),
    ]
    for name, figures, style in rows:
        cells = (
            (
                fmt.percent(figures.test_accuracy),
                fmt.count(figures.parameters),
                fmt.short(figures.macs),
                fmt.milliseconds(figures.latency_ms),
            )
            if figures is not None
            else ("diverged", "", "", "")
        )
        table.add_row(name, *cells, style=style)
    overhead = fmt.significant(result.steps.all_branches / max(1, result.steps.trunk))
    cost = (
        f"{fmt.count(result.steps.trunk)} steps of the trunk, {fmt.count(result.steps.all_branches)} of all branches "
        f"({overhead} ×), {fmt.duration(result.seconds)} of training"
    )
    return Group(table, Text(cost, "dim"), Text(), _genome(result.genome))


def comparison_table(comparison: Comparison, names: tuple[str, str] = ("A", "B")) -> RenderableType:
    """Two models beside one another."""
    a, b = comparison.a, comparison.b
    table = _table("", *((fmt.shortened(fmt.plain(name), 20), "right") for name in names), ("Change", "right"))
    if a.accuracy is not None and b.accuracy is not None:
        difference = f"{fmt.points(b.accuracy - a.accuracy)} points"
        table.add_row("Test accuracy", fmt.percent(a.accuracy), fmt.percent(b.accuracy), difference)
    table.add_row(
        "Parameters", fmt.count(a.parameters), fmt.count(b.parameters), fmt.change(a.parameters, b.parameters)
    )
    table.add_row("MACs", fmt.count(a.macs), fmt.count(b.macs), fmt.change(a.macs, b.macs))
    table.add_row(
        "Latency",
        fmt.milliseconds(a.latency_ms),
        fmt.milliseconds(b.latency_ms),
        fmt.change(a.latency_ms, b.latency_ms),
    )
    return Group(
        table, Text(f"Largest difference of the outputs, relative to the largest: {fmt.error(comparison.max_error)}")
    )


def _genome(genome: tuple[str, ...]) -> RenderableType:
    """Operations by site: `conv1  widen → 8, insert ×2, widen → 16`."""
    if not genome:
        return Text("No operation was better than the start as it is.")
    sites: dict[str, list[str]] = {}
    for text in genome:
        operation = parse(text)
        size = getattr(operation, "size", getattr(operation, "rank", None))
        steps = sites.setdefault(operation.site, [])
        steps.append(operation.kind if size is None else f"{operation.kind} → {size}")
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column()
    for site, steps in sites.items():
        runs = [(step, len(list(group))) for step, group in groupby(steps)]
        grid.add_row(_name(site), Text(", ".join(step if n == 1 else f"{step} ×{n}" for step, n in runs)))
    title = Text(f"{fmt.plural(len(genome), 'operation')} at {fmt.plural(len(sites), 'site')}", "bold")
    return Group(title, grid)


def _inspected(source: Structure | InspectResult) -> InspectResult:
    return source if isinstance(source, InspectResult) else inspect(source.model)


def _table(first: str, *columns: tuple[str, str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1))
    table.add_column(first, no_wrap=True, overflow="ellipsis")
    for title, justify in columns:
        table.add_column(Text(title), justify=justify, no_wrap=True)  # type: ignore[arg-type]
    return table


def _with_reasons(table: Table, reasons: list[tuple[str, str]]) -> RenderableType:
    if not reasons:
        return table
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(style="dim")
    last = None
    for name, reason in reasons:
        grid.add_row(_name(name, 20) if name != last else Text(), Text(fmt.plain(reason)))
        last = name
    return Group(table, Text(), Text("Why not", "bold"), grid)


def _name(name: str, length: int = _NAME) -> Text:
    return Text(fmt.shortened(fmt.plain(name), length))


def _signed(value: int) -> str:
    return ("+" if value > 0 else "") + fmt.short(value)
