"""The lineage as a picture: where every branch stands on the page. The template draws it."""

from __future__ import annotations

from dataclasses import dataclass

from pysurgeon.report import _format as fmt
from pysurgeon.report.run_summary import BranchRecord, RunRecord

_COLUMNS = 6  # generations in one row of the picture; more continue below
_CARD, _GAP = 136.0, 27.0
_LINE, _PADDING, _SPACE, _TOP = 15.0, 8.0, 9.0, 24.0
_LETTERS, _LINES = 19, 4
_CARRIED = ("won", "carried")


@dataclass(frozen=True)
class Card:
    """A branch.

    Attributes:
        x: Left edge.
        y: Upper edge.
        width: Width.
        height: Height.
        heading: What it is.
        figure: Its last validation accuracy, or what became of it.
        lines: Its operations, short.
        title: Everything, for a pointer that rests on it.
        origin: Class of its colour.
        fate: Class of its outline.
    """

    x: float
    y: float
    width: float
    height: float
    heading: str
    figure: str
    lines: tuple[str, ...]
    title: str
    origin: str
    fate: str


@dataclass(frozen=True)
class Edge:
    """A line from a branch to one that was made of it: SVG path data, and whether the trunk took it."""

    path: str
    trunk: bool


@dataclass(frozen=True)
class Heading:
    """The number of a generation above its column."""

    x: float
    text: str


@dataclass(frozen=True)
class TreeRow:
    """A row of up to six generations, beginning with the branch that they come from."""

    width: float
    height: float
    headings: tuple[Heading, ...]
    edges: tuple[Edge, ...]
    cards: tuple[Card, ...]


def lineage_tree(run: RunRecord) -> tuple[TreeRow, ...]:
    """Lay out the lineage of a run."""
    rows, roots = [], [_Draft.root("start", _root_figure(run))]
    for first in range(0, len(run.generations), _COLUMNS):
        generations = run.generations[first : first + _COLUMNS]
        columns = [roots, *([_Draft.of(b, run.metric) for b in g.branches] for g in generations)]
        tallest = max(_height(column) for column in columns)
        headings = [Heading(k * (_CARD + _GAP), f"generation {g.number}") for k, g in enumerate(generations, start=1)]
        cards: list[Card] = []
        edges: list[Edge] = []
        parents: dict[str, Card] = {}
        for k, column in enumerate(columns):
            y = _TOP + (tallest - _height(column)) / 2
            placed = {}
            for draft in column:
                card = placed[draft.heading] = _card(draft, k * (_CARD + _GAP), y)
                y += draft.height + _SPACE
                if k > 0 and draft.fate != "refused":
                    edges.append(Edge(_path(parents[draft.parent], card), draft.fate in _CARRIED))
            cards += placed.values()
            parents = {name: card for name, card in placed.items() if k == 0 or card.fate in _CARRIED}
        roots = [_Draft.root(card.heading, card.figure) for card in parents.values()]
        width = len(columns) * (_CARD + _GAP) - _GAP
        # Edges of the trunk come last, so that they lie on top.
        ordered = tuple(sorted(edges, key=lambda e: e.trunk))
        full = max(width, (_COLUMNS + 1) * (_CARD + _GAP) - _GAP)
        rows.append(TreeRow(full + 2, _TOP + tallest + 2, tuple(headings), ordered, tuple(cards)))
    return tuple(rows)


@dataclass(frozen=True)
class _Draft:
    """A card before it has a place."""

    heading: str
    figure: str
    lines: tuple[str, ...]
    title: str
    origin: str
    fate: str
    parent: str = ""

    @property
    def height(self) -> float:
        return 2 * _PADDING + _LINE * (1 + len(self.lines))

    @staticmethod
    def root(name: str, figure: str) -> _Draft:
        return _Draft(name, figure, (), f"{name}, {figure}", "parent", "won")

    @staticmethod
    def of(branch: BranchRecord, metric: str) -> _Draft:
        accuracy = fmt.percent(branch.curve[-1][1]) if branch.curve else ""
        figure = accuracy if branch.fate in (*_CARRIED, "lost", "racing") else branch.fate
        texts = [fmt.operation(o.kind, fmt.plain(o.site), o.size) for o in branch.operations]
        shown = texts if len(texts) <= _LINES else [*texts[: _LINES - 1], f"and {len(texts) - _LINES + 1} more"]
        lines = tuple(fmt.shortened(text.replace("insert behind", "insert"), _LETTERS) for text in shown)
        facts = [f"{branch.id} ({branch.origin}), {branch.fate}", *texts]
        if accuracy:
            facts.append(f"validation {metric} {accuracy} at step {fmt.count(branch.curve[-1][0])}")
        facts.append(f"{fmt.plural(branch.parameters, 'parameter')}")
        if branch.reason:
            facts.append(fmt.plain(branch.reason))
        return _Draft(
            branch.id, figure, lines or ("unchanged",), "\n".join(facts), branch.origin, branch.fate, branch.parent
        )


def _height(column: list[_Draft]) -> float:
    return sum(draft.height for draft in column) + _SPACE * (len(column) - 1)


def _card(draft: _Draft, x: float, y: float) -> Card:
    return Card(
        x + 1,
        y,
        _CARD,
        draft.height,
        draft.heading,
        draft.figure,
        draft.lines,
        draft.title,
        draft.origin,
        draft.fate,
    )


def _path(source: Card, target: Card) -> str:
    x1, y1 = source.x + source.width, source.y + source.height / 2
    x2, y2 = target.x, target.y + target.height / 2
    middle = (x1 + x2) / 2
    return f"M{x1:.1f} {y1:.1f} C{middle:.1f} {y1:.1f} {middle:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"


def _root_figure(run: RunRecord) -> str:
    return fmt.percent(run.generations[0].branches[0].curve[0][1]) if run.generations else ""
