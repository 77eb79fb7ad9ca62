"""Tables for the terminal; with names of usual length they fit into 80 columns.

A name is there to be copied into the next command: none is cut, what is too long gets a line of its own. Names from model files never
become markup or control codes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pysurgeon.diagnosis import Recommendation
from pysurgeon.evolution import EvolveResult, Figures
from pysurgeon.model.fidelity import Beside
from pysurgeon.report import _format as fmt
from pysurgeon.report.compare import Comparison
from pysurgeon.report.conclusions import compared, speed
from pysurgeon.report.json_output import InspectResult, WidthDocument, inspect
from pysurgeon.surgery import Record, parse
from pysurgeon.training import NodeFact
from pysurgeon.widths.structure import Structure

_NOT_POSSIBLE = "–"
_ASIDE = 20  # columns for a name beside a sentence; what is longer stands above it
_GAP = 3  # between two columns
_BEFORE_KIND = re.compile(r"; (?=(?:insert|remove|factorize): )")

GENERATED = "Fitted to generated input and measured on it: with --data, operations are fitted to what the model is for."

Cell = str | Text
Column = tuple[str, Literal["left", "right", "center"]]


@dataclass
class _Row:
    """A line of a table: what it is about, what is said below that, and the other cells."""

    name: str
    cells: tuple[Cell, ...]
    detail: str = ""
    style: str = ""


@dataclass
class _NamedTable:
    """A table whose first column holds names that are never cut: one that does not fit beside the other cells stands above them.

    Printed with `overflow="ignore"` (and `crop=False`), a name longer than the console is left to the terminal to wrap; else it is folded.

    Attributes:
        title: Of the first column.
        columns: Title and alignment of each of the others.
        indent: Columns by which details are moved to the right.
        rows: From top to bottom.
    """

    title: str
    columns: tuple[Column, ...]
    indent: int = 0
    rows: list[_Row] = field(default_factory=list)

    def add(self, name: str, *cells: Cell, detail: str = "", style: str = "") -> None:
        """Add a row."""
        self.rows.append(_Row(fmt.plain(name), cells, detail, style))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The rows, as few tables below one another as there are long names between them."""
        widths = [
            max([cell_len(title), *(cell_len(str(row.cells[k])) for row in self.rows)])
            for k, (title, _) in enumerate(self.columns)
        ]
        room = max(cell_len(self.title), options.max_width - sum(widths) - _GAP * len(widths))
        wanted = [cell_len(row.name) for row in self.rows if cell_len(row.name) <= room]
        wanted += [min(room, self.indent + cell_len(row.detail)) for row in self.rows]
        first = max([cell_len(self.title), *wanted])
        table = self._table(first, widths, header=True)
        for row in self.rows:
            fits = cell_len(row.name) <= room
            if not fits:
                yield table
                table = self._table(first, widths, header=False)
                yield Text(row.name, row.style)
            below = Padding(Text(row.detail, "dim"), (0, 0, 0, self.indent))
            parts = [Text(row.name)] * fits + [below] * bool(row.detail)
            table.add_row(Group(*parts), *(Text(c) if isinstance(c, str) else c for c in row.cells), style=row.style)
        yield table

    def _table(self, first: int, widths: Sequence[int], *, header: bool) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1), show_header=header)
        table.add_column(self.title, width=first, overflow="fold")
        for (title, justify), width in zip(self.columns, widths, strict=True):
            table.add_column(Text(title), justify=justify, width=width, no_wrap=True)
        return table


def inspection(found: InspectResult, unsound: str = "") -> RenderableType:
    """A model as a whole, its widths and its layers: `pysurgeon inspect`.

    Args:
        found: What it is made of.
        unsound: A clause that says which weights are not finite, in place of their names.
    """
    whole = found.model
    at = f" at {', '.join(f'{name}={size}' for name, size in whole.macs_at.items())}" if whole.macs_at else ""
    first = f"{whole.parameters:,} parameters, {whole.macs:,} MACs a sample{at}, opset {whole.opset}"
    parts: list[RenderableType] = [Text(fmt.plain(first))]
    for title, ports in (("input", whole.inputs), ("output", whole.outputs)):
        for port in ports:
            shape = ", ".join("any" if d is None else str(d) for d in port.shape)
            parts.append(Text(fmt.plain(f"{title} {port.name!r}: {port.dtype} ({shape})")))
    if whole.not_finite:
        unsound = unsound or f"values that are infinite or not a number in {', '.join(map(repr, whole.not_finite))}"
        parts.append(Text(fmt.plain(f"not sound: {unsound}"), "red"))
    return Group(*parts, Text(), widths_table(found), Text(), layers_table(found))


def widths_table(source: Structure | InspectResult) -> RenderableType:
    """The widths of a model, and below why some cannot be resized."""
    found = _inspected(source)
    if not found.widths:
        return Text("No widths: no operator that is known holds a weight of this model.")
    table = _NamedTable(
        "Width", (("Units", "right"), ("Written by", "left"), ("Read by", "left"), ("Resizable", "left"))
    )
    for width in found.widths:
        table.add(
            width.name,
            fmt.count(width.size) + (f" × {width.multiple}" if width.multiple > 1 else ""),
            fmt.plural(len(width.writers), "tensor"),
            fmt.plural(len(width.readers), "tensor"),
            _resizable(width),
        )
    notes = []
    several = next((w for w in found.widths if w.multiple > 1), None)
    if several is not None:
        notes.append(
            f"{several.size} × {several.multiple}: {several.size} units of {several.multiple} elements each, which stay together; "
            f"SIZE is the number of units, as in widen:{fmt.plain(several.name)}={2 * several.size}."
        )
    if any(w.resizable and not w.exact for w in found.widths):
        notes.append(
            "not exactly: it can be resized, and the outputs change a little, except where widen copies every unit as often "
            "(SIZE a whole multiple); apply measures by how much."
        )
    return _with_reasons(table, [(w.name, w.reason) for w in found.widths if w.reason], notes)


def _resizable(width: WidthDocument) -> Text:
    if not width.resizable:
        return Text(_NOT_POSSIBLE, "dim")
    return Text("yes", "green") if width.exact else Text("not exactly", "yellow")


def layers_table(source: Structure | InspectResult) -> RenderableType:
    """The layers of a model with what can be done with them, and below why some things cannot."""
    found = _inspected(source)
    if not found.layers:
        return Text("No layers: no operator that is known holds a weight of this model.")
    table = _NamedTable(
        "Layer",
        (
            ("Operator", "left"),
            ("Params", "right"),
            ("MACs", "right"),
            ("Insert", "center"),
            ("Remove", "center"),
            ("Factorize", "center"),
        ),
    )
    for layer in found.layers:
        flags = (layer.insertable, layer.removable, layer.factorizable)
        table.add(
            layer.name,
            fmt.plain(layer.operator),
            fmt.short(layer.parameters),
            fmt.short(layer.macs),
            *(Text("yes", "green") if flag else Text(_NOT_POSSIBLE, "dim") for flag in flags),
        )
    return _with_reasons(table, [(x.name, part) for x in found.layers for part in _by_sentence(x.reason)])


def _by_sentence(reason: str) -> list[str]:
    """One sentence for all that is not possible for one reason: "insert: no; remove: no" becomes "insert, remove: no"."""
    kinds: dict[str, list[str]] = {}
    for part in _BEFORE_KIND.split(reason) if reason else []:
        kind, _, sentence = part.partition(": ")
        kinds.setdefault(sentence, []).append(kind)
    return [f"{', '.join(found)}: {sentence}" for sentence, found in kinds.items()]


def recommendations_table(recommendations: Sequence[Recommendation], metric: str = "accuracy") -> RenderableType:
    """Ranked operations with what is expected of them; the evidence stands below each.

    Args:
        recommendations: Best first.
        metric: What they are expected to make better.
    """
    if not recommendations:
        return Text("No operation is possible here.")
    table = _NamedTable(
        "    Operation", (("Gain", "right"), ("Parameters", "right"), ("MACs", "right"), ("Score", "right")), indent=4
    )
    for rank, r in enumerate(recommendations, start=1):
        evidence = ", ".join(fmt.evidence(name, value, brief=True) for name, value in r.evidence.items())
        table.add(
            f"{rank:>2}  {r.operation}",
            fmt.points(r.expected_gain, 2),
            _signed(r.parameters),
            _signed(r.macs),
            fmt.points(r.score, 2),
            detail=evidence,
        )
    shown = dict.fromkeys(name for r in recommendations for name in r.evidence)
    notes = (f"Gain and score are points of {metric}; the score is the gain less its price.", *fmt.legend(shown))
    return Group(table, *map(_note, notes))


def records_table(records: Sequence[Record], *, generated: bool = False) -> RenderableType:
    """What operations did: `pysurgeon apply`.

    Args:
        records: Of the operations, in order.
        generated: Whether there was no data, so that fits and measurements are on random input.
    """
    table = _NamedTable(
        "Operation",
        (("Predicted", "right"), ("There", "right"), ("Outputs", "right"), ("Parameters", "right"), ("MACs", "right")),
    )
    for record in records:
        table.add(
            record.operation,
            "exact" if record.exact else fmt.error(record.predicted_error),
            "–" if record.site_error is None else fmt.error(record.site_error),
            fmt.error(record.measured_error),
            _signed(record.after.parameters - record.before.parameters),
            _signed(record.after.macs - record.before.macs),
            detail=fmt.plain(record.reason),
        )
    notes = [
        "Relative errors: predicted for what reads the place, measured there, and measured on the model's outputs."
    ]
    if generated and any(not record.exact for record in records):
        notes.append(GENERATED)
    return Group(table, *map(_note, notes))


def beside_file(found: Beside) -> str:
    """How a result compares with the file that it was made from, as a sentence."""
    if not found.sizes:
        return f"not compared with the file itself: {found.why}"
    sizes = "; ".join(", ".join(f"{name}={size}" for name, size in s.items()) or "its fixed sizes" for s in found.sizes)
    return fmt.plain(
        f"the outputs differ from those of the file itself by {fmt.error(found.error)} at most, at {sizes}"
    )


def training_table(facts: Sequence[NodeFact]) -> RenderableType:
    """What becomes of every node in training: `pysurgeon doctor`."""
    table = _NamedTable("Node", (("Operator", "left"), ("Training", "left")), indent=2)
    for fact in facts:
        table.add(fact.node, fmt.plain(fact.operator), fmt.plain(fact.status), detail=fmt.plain(fact.detail))
    return table


def result_table(result: EvolveResult) -> RenderableType:
    """What a run came to, and the operations of the winner, grouped by site."""
    table = _NamedTable(
        "",
        ((f"Test {result.metric}", "right"), ("Parameters", "right"), ("MACs", "right"), ("Latency", "right")),
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
        table.add(name, *cells, style=style)
    spent = result.compute
    alone = f", {fmt.significant(spent.all_branches / spent.alone)} × the start's alone" if spent.alone else ""
    cost = (
        f"{fmt.short(spent.all_branches)} MACs of all branches ({fmt.significant(spent.all_branches / max(1, spent.trunk))} × the trunk's{alone}), "
        f"{fmt.count(result.steps.trunk)} steps of the trunk, {fmt.count(result.steps.all_branches)} of all branches, {fmt.duration(result.seconds)}"
    )
    return Group(table, _note(cost), Text(), _genome(result.genome))


def runs_table(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Runs beside one another, a row each."""
    right = ("Start", "Alone", "Result", "Parameters", "MACs", "Latency", "Steps")
    table = plain_table("Run", ("For", "left"), *((title, "right") for title in right))
    for row in rows:
        known = [row[key] for key in ("start_accuracy", "alone_accuracy", "test_accuracy")]
        scores = ["" if score is None else fmt.percent(score) for score in known]
        costs = [
            "" if row[key] is None else show(row[key])
            for key, show in (("parameters", fmt.count), ("macs", fmt.short), ("latency_ms", fmt.milliseconds))
        ]
        name = fmt.shortened(fmt.plain(Path(row["run"]).name), 20)
        table.add_row(name, row["objective"], *scores, *costs, fmt.count(row["steps"]))
    under_way = [Text(f"{fmt.plain(row['run'])} has not ended", overflow="fold") for row in rows if not row["ended"]]
    return Group(table, *under_way)


def comparison_table(comparison: Comparison, names: tuple[str, str] = ("A", "B")) -> RenderableType:
    """Two models beside one another."""
    a, b = comparison.a, comparison.b
    table = plain_table("", *((fmt.shortened(fmt.plain(name), 20), "right") for name in names), ("Change", "right"))
    if a.accuracy is not None and b.accuracy is not None:
        difference = f"{fmt.points(b.accuracy - a.accuracy)} points"
        table.add_row(f"Test {comparison.metric}", fmt.percent(a.accuracy), fmt.percent(b.accuracy), difference)
    table.add_row(
        "Parameters", fmt.count(a.parameters), fmt.count(b.parameters), fmt.change(a.parameters, b.parameters)
    )
    table.add_row("MACs", fmt.count(a.macs), fmt.count(b.macs), fmt.change(a.macs, b.macs))
    table.add_row(
        "Latency",
        fmt.milliseconds(a.latency_ms.median),
        fmt.milliseconds(b.latency_ms.median),
        fmt.change(1.0, comparison.speed.median) if comparison.speed.decided else comparison.speed.verdict,
    )
    judged = (
        () if comparison.difference is None else compared(comparison.difference, names[1], names[0], comparison.metric)
    )
    return Group(
        table,
        *map(Text, judged),
        *map(Text, speed(comparison, names)),
        Text(f"Largest difference of the outputs, relative to the largest: {fmt.error(comparison.max_error)}"),
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
    lines = []
    for site, steps in sites.items():
        runs = [(step, len(list(group))) for step, group in groupby(steps)]
        lines.append((site, ", ".join(step if n == 1 else f"{step} ×{n}" for step, n in runs)))
    title = Text(f"{fmt.plural(len(genome), 'operation')} at {fmt.plural(len(sites), 'site')}", "bold")
    return Group(title, *_beside(lines))


def _inspected(source: Structure | InspectResult) -> InspectResult:
    return source if isinstance(source, InspectResult) else inspect(source.model)


def plain_table(first: str, *columns: tuple[str, str]) -> Table:
    """An empty table.

    Args:
        first: Title of the first column, which gives way where there is little room.
        *columns: Titles of the others, and how they are justified.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1))
    table.add_column(first, no_wrap=True, overflow="ellipsis")
    for title, justify in columns:
        table.add_column(Text(title), justify=justify, no_wrap=True)  # type: ignore[arg-type]
    return table


def _with_reasons(table: RenderableType, reasons: list[tuple[str, str]], notes: Sequence[str] = ()) -> RenderableType:
    parts = [table, *map(_note, notes)]
    return Group(*parts, Text(), Text("Why not", "bold"), *_beside(reasons, "dim")) if reasons else Group(*parts)


def _beside(lines: Sequence[tuple[str, str]], style: str = "") -> list[RenderableType]:
    """Names with sentences beside them; a name is said once, and stands above its sentences where it is long."""
    short = [cell_len(fmt.plain(name)) for name, _ in lines if cell_len(fmt.plain(name)) <= _ASIDE]
    aside = max(short, default=2)
    parts: list[RenderableType] = []
    last = None
    for name, sentence in lines:
        shown = fmt.plain(name) if name != last else ""
        last = name
        if cell_len(shown) > _ASIDE:
            parts.append(Text(shown))
            shown = ""
        grid = Table.grid(padding=(0, 2))
        grid.add_column(width=aside, no_wrap=True)
        grid.add_column(style=style, overflow="fold")
        grid.add_row(Text(shown), Text(fmt.plain(sentence)))
        parts.append(grid)
    return parts


def _note(text: str) -> Text:
    return Text(text, "dim", overflow="fold")


def _signed(value: int) -> str:
    return ("+" if value > 0 else "") + fmt.short(value)
