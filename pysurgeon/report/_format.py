"""Numbers and names, written for people. What takes no unit is returned bare; no-break spaces keep a number and its unit together."""

from __future__ import annotations

import math
from collections.abc import Iterable

from pysurgeon.shown import shown

SPACE = "\u00a0"
MINUS = "\u2212"

_KINDS = {
    "widen": "widen",
    "narrow": "narrow",
    "insert": "insert behind",
    "bypass": "bypass",
    "remove": "remove",
    "factorize": "factorize",
}
_EVIDENCE = {
    "activation_rank": "activation rank",
    "effective_rank": "effective rank",
    "error_without_cheapest_unit": "error without the cheapest unit",
    "dead_units": "dead units",
    "predicted_error": "predicted error",
    "linearity": "linearity R²",
    "steeper": "steeper loss by",
    "weight_rank": "weight rank",
    "stable_rank": "stable rank",
    "sort_key": "sort key",
}
# The same for a terminal, where a row is one line, and what it means.
_BRIEF = {
    "activation_rank": ("rank", "directions that carry signal"),
    "effective_rank": ("eff.", "effective rank"),
    "error_without_cheapest_unit": ("lost", "error of the readers without the cheapest unit"),
    "dead_units": ("dead", "units that never change"),
    "predicted_error": ("error", "of the readers, as predicted"),
    "linearity": ("R²", "how far the layer could be a linear map"),
    "steeper": ("steeper", "by how much new parameters make the loss steeper"),
    "weight_rank": ("rank", "directions that carry signal"),
    "stable_rank": ("stable", "stable rank"),
}
_SHARES = {"error_without_cheapest_unit", "predicted_error", "steeper"}


def count(value: int) -> str:
    """12,345."""
    return f"{value:,}".replace("-", MINUS)


def short(value: float) -> str:
    """A count in few digits: 9,999, 12.3 k, 4.56 M."""
    size = abs(value)
    if size < 10_000:
        return f"{value:,.0f}".replace("-", MINUS)
    for limit, divisor, unit in ((1e6, 1e3, "k"), (1e9, 1e6, "M"), (1e12, 1e9, "G"), (math.inf, 1e12, "T")):
        if size < limit * 0.9995:
            return f"{significant(value / divisor)}{SPACE}{unit}"
    raise AssertionError(value)


def significant(value: float, digits: int = 3) -> str:
    """A number with this many significant digits, without an exponent where it is of a common size."""
    if not math.isfinite(value):
        return "∞" if value == math.inf else "none"
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if not -5 < exponent < 7:
        return f"{value:.{digits - 1}e}".replace("-", MINUS)
    return f"{value:,.{max(0, digits - 1 - exponent)}f}".replace("-", MINUS)


def percent(share: float | None, digits: int = 1) -> str:
    """A share of one in per cent; a dash where it is not known."""
    if share is None or not math.isfinite(share):
        return "–"
    return f"{share * 100:.{digits}f}{SPACE}%".replace("-", MINUS)


def points(difference: float | None, digits: int = 1) -> str:
    """A difference of two shares in percentage points, signed."""
    if difference is None or not math.isfinite(difference):
        return "–"
    text = f"{difference * 100:+.{digits}f}"
    return (text if float(text) else f"±{0:.{digits}f}").replace("-", MINUS)


def change(before: float, after: float) -> str:
    """How much more or less `after` is: 3.4 ×, +12 %, −8 %, ±0 %."""
    if before <= 0:
        return "–"
    ratio = after / before
    if ratio >= 2:
        return f"{significant(ratio)}{SPACE}×"
    text = f"{(ratio - 1) * 100:+.{1 if abs(ratio - 1) < 0.1 else 0}f}"
    return f"{text if float(text) else '±0'}{SPACE}%".replace("-", MINUS)


def milliseconds(value: float) -> str:
    """0.0123 ms."""
    return f"{significant(value)}{SPACE}ms"


def duration(seconds: float) -> str:
    """12.3 s, 4 min 5 s, 2 h 3 min."""
    if seconds < 60:
        return f"{seconds:.1f}{SPACE}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{SPACE}min {rest}{SPACE}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{SPACE}h {minutes}{SPACE}min"


def error(value: float | None) -> str:
    """A relative error: 0, 3.1e−07, 24.8 %, 93 ×."""
    if value is None:
        return "–"
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "∞"
    if value >= 10:
        return f"{significant(value)}{SPACE}×"
    return f"{significant(value * 100)}{SPACE}%" if value >= 1e-4 else f"{value:.1e}".replace("-", MINUS)


def evidence(name: str, value: float, *, brief: bool = False) -> str:
    """A figure of the evidence with its name."""
    titles = {key: title for key, (title, _) in _BRIEF.items()} if brief else _EVIDENCE
    title = titles.get(name, name.replace("_", " "))
    whole = float(value).is_integer() and abs(value) >= 1
    return f"{title}{SPACE}{percent(value) if name in _SHARES else count(int(value)) if whole else significant(value)}"


def legend(names: Iterable[str]) -> list[str]:
    """What the brief figures of these names mean, a line each."""
    return list(dict.fromkeys(f"{title}: {meaning}" for title, meaning in (_BRIEF[n] for n in names if n in _BRIEF)))


def operation(kind: str, site: str, size: int | None) -> str:
    """What an operation does, in words."""
    verb = _KINDS.get(kind, kind)
    return f"{verb} {site}" if size is None else f"{verb} {site} → {size}"


def shortened(text: str, length: int) -> str:
    """A text of at most this length; what does not fit is taken from its middle."""
    if len(text) <= length:
        return text
    head = (length - 1) // 2
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"


def plain(text: str) -> str:
    """A name from a file without what could steer a terminal or hide in a page."""
    return shown(text)


def plural(number: int, noun: str) -> str:
    """1 branch, 2 branches."""
    ending = "" if number == 1 else ("es" if noun.endswith(("ch", "s", "x")) else "s")
    return f"{count(number)}{SPACE}{noun}{ending}"
