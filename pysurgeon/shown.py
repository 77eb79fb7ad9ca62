"""Text from files as a person may see it: nothing in it steers a terminal, turns a line round or hides in a page."""

from __future__ import annotations

import unicodedata


def shown(text: str, *, lines: bool = False) -> str:
    r"""A text in which control characters, marks of direction and what has no picture are written as escapes, `\x1b` say.

    Args:
        text: Any.
        lines: Whether ends of lines and tabs stay what they are.
    """
    if text.isprintable():
        return text
    return "".join(c if _harmless(c) or (lines and c in "\n\t") else _escaped(c) for c in text)


def _harmless(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
