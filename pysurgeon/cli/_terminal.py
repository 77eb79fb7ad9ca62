"""The console that everything is printed on: what comes from a file is text there, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from pysurgeon.shown import shown


class Terminal(Console):
    """A console without markup and emoji, which lets no control character of a text through: styles and links are ours alone.

    Args:
        **options: See `rich.console.Console`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """The pieces of what is printed."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(shown(segment.text, lines=True), segment.style)
