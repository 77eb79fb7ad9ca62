"""Results as text: what Python prints is what the command line shows."""

from __future__ import annotations

import io
import shutil
from typing import Any

from rich.console import Console, RenderableType

_WIDEST = 120
_PIECE = '<pre style="line-height: normal; font-family: monospace; white-space: pre; overflow-x: auto">{code}</pre>'


class Printable:
    """A result that is printed, and shown by a notebook, as the command line shows it; its `repr` names all fields."""

    def shown(self) -> RenderableType:
        """As the command line shows it."""
        raise AssertionError

    def __str__(self) -> str:
        return as_text(self.shown())

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002  (IPython calls it)
        printer.text(str(self))

    def _repr_html_(self) -> str:
        return as_html(self.shown())


def as_html(shown: RenderableType) -> str:
    """What a console shows, as a piece of a page in the colours of whatever page that is."""
    console = Console(
        file=io.StringIO(), width=_WIDEST, record=True, force_jupyter=False, highlight=False, markup=False
    )
    console.print(shown, crop=False, overflow="ignore")
    return console.export_html(inline_styles=True, code_format=_PIECE)


def as_text(shown: RenderableType) -> str:
    """What a console shows, without colours and spaces at the ends of lines, as wide as the terminal where there is one."""
    width = min(_WIDEST, shutil.get_terminal_size((_WIDEST, 0)).columns)
    console = Console(file=io.StringIO(), width=width, color_system=None, highlight=False, markup=False)
    with console.capture() as capture:
        console.print(shown, crop=False, overflow="ignore")
    return "\n".join(line.rstrip() for line in capture.get().rstrip().splitlines())
