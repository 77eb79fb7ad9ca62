"""Writes docs/operators.md from the registry: python docs/operators.py."""

from __future__ import annotations

from pathlib import Path

import onnx

from pysurgeon.model.definitions import DEFINITIONS
from pysurgeon.operators import OPERATORS

HEAD = """# Operators

What is inferred of every operator, from the families in `pysurgeon/operators/`; this file is written by `docs/operators.py`.
*Since* is the opset that it came with; files of set 7 and later are read. An operator that is not listed keeps the size of all
axes of its operands and results, and `pysurgeon inspect` names it.

| operator | since | widths go along |
|---|---|---|
"""

WRITTEN = """
## Written in standard operators

When a file is loaded, these give way to what they stand for (`pysurgeon/model/definitions/`), with a note; from then on they are like all
others. One that uses what its definition does not cover (a cache of keys and values, packed operands) stays as it is and keeps all sizes.

"""


def table() -> str:
    """The whole file."""
    since: dict[tuple[str, str], int] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        key = (schema.domain, schema.name)
        since[key] = min(schema.since_version, since.get(key, schema.since_version))
    rows = [
        f"| `{domain + '.' if domain else ''}{name}` | {since[domain, name]} | {operator.summary} |"
        for (domain, name), operator in sorted(OPERATORS.items())
    ]
    defined = [f"- `{domain}.{name}`: {_first_line(d)}" for (domain, name), d in sorted(DEFINITIONS.items())]
    return HEAD + "\n".join(rows) + "\n" + WRITTEN + "\n".join(defined) + "\n"


def _first_line(definition: object) -> str:
    return (definition.__doc__ or "").splitlines()[0]


if __name__ == "__main__":
    Path(__file__).with_suffix(".md").write_text(table())
