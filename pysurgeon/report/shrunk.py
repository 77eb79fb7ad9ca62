"""What `shrink` did, as tables: the network before and after, and what was cut where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from pysurgeon.report import _format as fmt
from pysurgeon.report.compare import Comparison
from pysurgeon.report.tables import comparison_table, plain_table

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class WidthCut:
    """What became of a width.

    Attributes:
        width: Its name.
        before: Units before.
        after: Units afterwards.
        share: Of the squared error of the outputs that was predicted of the whole cut.
    """

    width: str
    before: int
    after: int
    share: float


def shrink_table(comparison: Comparison, cuts: Sequence[WidthCut]) -> RenderableType:
    """A network before and after it was shrunk."""
    table = plain_table("Width", ("From", "right"), ("To", "right"), ("Of the error", "right"))
    for cut in cuts:
        table.add_row(fmt.plain(cut.width), fmt.count(cut.before), fmt.count(cut.after), fmt.percent(cut.share))
    return Group(table, Text(), comparison_table(comparison, ("before", "after")))
