"""The command line that repeats a run."""

from __future__ import annotations

import shlex
from dataclasses import fields
from pathlib import Path

from pysurgeon.settings import EvolveSettings
from pysurgeon.settings_schema import option, settings_in


def evolve_command(settings: EvolveSettings, start: Path) -> str:
    """`pysurgeon evolve ...` with all that differs from the defaults, quoted for a shell.

    Args:
        settings: Of the run.
        start: The start model's file.
    """
    words = ["pysurgeon", "evolve", str(start)]
    defaults, said = {f.name: f.default for f in fields(settings)}, settings_in(EvolveSettings)
    for name in said:
        value = getattr(settings, name)
        if value is None or (value == defaults[name] and name not in ("data", "seed")):
            continue
        if isinstance(value, tuple):
            words += [word for each in value for word in (option(name), each)]
        else:
            words += [option(name), _written(value) + said[name].unit]
    return shlex.join(words)


def _written(value: object) -> str:
    """The shortest text that is read back as the same value."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
