"""A console that wraps at words what somebody reads, and leaves alone what a program reads."""

from __future__ import annotations

import textwrap
from typing import Any

from rich.console import Console


class Wrapping(Console):
    """A console whose long sentences are wrapped at words on a terminal; elsewhere each is one line, for whoever searches them."""

    def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
        """Print; see `rich.console.Console.print`. What has no blanks, such as a path, is left whole."""
        if soft_wrap and self.is_terminal:
            objects = tuple(self._wrapped(o) if isinstance(o, str) else o for o in objects)
        super().print(*objects, soft_wrap=soft_wrap, **options)

    def _wrapped(self, text: str) -> str:
        lines = (
            textwrap.fill(line, self.width, break_long_words=False, break_on_hyphens=False)
            for line in text.splitlines()
        )
        return "\n".join(lines)
