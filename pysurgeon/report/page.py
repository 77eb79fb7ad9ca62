"""The report of a run: one HTML page that needs nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from importlib import metadata
from pathlib import Path

from pysurgeon.errors import OutputExistsError
from pysurgeon.evolution import EvolveSettings, Journal
from pysurgeon.evolution.journal import write_file
from pysurgeon.report import _format as fmt
from pysurgeon.report._figures import curves_svg, front_svg, spending_svg
from pysurgeon.report.architecture import LayerChange
from pysurgeon.report.command import evolve_command
from pysurgeon.report.conclusions import verdict
from pysurgeon.report.lineage_svg import lineage_tree
from pysurgeon.report.run_summary import RunRecord, from_journal
from pysurgeon.shown import shown

_TEMPLATES = Path(__file__).parent / "templates"
_PACKAGES = ("pysurgeon", "onnxruntime-training-cpu", "onnx", "onnx-ir", "numpy", "scipy")


@dataclass(frozen=True)
class Headline:
    """What a run came to, in one line and in a few sentences."""

    title: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Setting:
    """One setting as the page shows it."""

    name: str
    value: str
    default: bool


def write_report(journal: Journal, path: Path, *, force: bool = False) -> Path:
    """Write the report of a run, finished or not, as one HTML file without references to others.

    The same lineage gives the same bytes, for one set of installed versions.

    Args:
        journal: The run; only read.
        path: The file.
        force: Whether it may be replaced.

    Raises:
        OutputExistsError: The file exists and `force` is not given.
        RunError: Another version wrote the run.
    """
    if path.exists() and not force:
        message = f"{path} exists; choose another name or say --force"
        raise OutputExistsError(message)
    write_file(path, render(from_journal(journal)).encode())
    return path


def render(run: RunRecord) -> str:
    """The page of a run."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: (
            value if not isinstance(value, str) or isinstance(value, Markup) else shown(value, lines=True)
        ),
    )
    for name in (
        "count short significant percent points change milliseconds duration error evidence operation plain plural"
    ).split():
        environment.filters[name] = getattr(fmt, name)
    return environment.get_template("report.html.jinja").render(
        run=run,
        headline=headline(run),
        # The figure holds numbers alone: no text of the run can get into it.
        curves=Markup(curves_svg(run)),  # noqa: S704
        spending=Markup(spending_svg(run)),  # noqa: S704
        front=Markup(front_svg(run)),  # noqa: S704
        tree=lineage_tree(run),
        scale=accuracy_scale(run),
        widest=max((u for c in run.layers for u in _units(c)), default=1),
        settings=settings_rows(run.settings),
        command=evolve_command(run.settings, run.folder / "start.onnx"),
        versions=versions(),
    )


def headline(run: RunRecord) -> Headline:
    """What a run came to."""
    data = fmt.plain(run.settings.data)
    if run.result is None:
        done = sum(g.winner is not None for g in run.generations)
        title = f"{data}: {done} of {fmt.plural(run.settings.generations, 'generation')} so far"
        return Headline(title, ("This run is not finished; what follows is how far it has come.",))
    result, baseline = run.result.figures, run.alone or run.start
    assert baseline is not None
    before = baseline.figures
    accuracies = f"{fmt.percent(before.test_accuracy)} to {fmt.percent(result.test_accuracy)}"
    title = f"From {accuracies} on {data}"
    if run.settings.objective == "size" and result.parameters < before.parameters:
        saved = fmt.percent(1 - result.parameters / before.parameters, 0)
        title = f"{saved} fewer parameters on {data}, test {run.metric} {accuracies}"
    if run.settings.objective == "latency" and run.speed is not None and run.speed.verdict == "faster":
        title = f"{fmt.significant(1 / run.speed.median)} × faster on {data}, test {run.metric} {accuracies}"
    if run.alone is None:
        return Headline(title, verdict(run))
    operations = sum(len(g.taken.operations) for g in run.generations if g.taken is not None)
    compared = (
        f"The first figure is that of the start trained alone for the same {fmt.count(run.trunk_effort.steps)} steps, "
        f"the second that of the network after {fmt.plural(operations, 'operation')} "
        f"in {fmt.plural(len(run.generations), 'generation')}."
    )
    return Headline(title, (compared, *verdict(run)))


def accuracy_scale(run: RunRecord) -> tuple[float, float]:
    """Ends of the axis on which the test accuracies are drawn: all intervals, with some room, on tenths."""
    tested = (run.start, run.alone, run.result, *(m.tested for m in run.front))
    ends = [end for t in tested if t is not None for end in t.interval]
    if not ends:
        return 0.0, 1.0
    low, high = math.floor(min(ends) * 10) / 10, min(1.0, (math.floor(max(ends) * 10) + 1) / 10)
    return low, high


def settings_rows(settings: EvolveSettings) -> tuple[Setting, ...]:
    """All settings, with whether they are the defaults."""
    rows = []
    for field in fields(settings):
        value = getattr(settings, field.name)
        text = "none" if value is None else fmt.plain(str(value))
        rows.append(Setting(field.name.replace("_", " "), text, value == field.default))
    return tuple(rows)


def versions() -> tuple[tuple[str, str], ...]:
    """Versions of what this page was made with."""
    import platform

    found = [(package, _version(package)) for package in _PACKAGES]
    return (("Python", platform.python_version()), *((package, text) for package, text in found if text))


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""  # run from a checkout, or with another build of the engine


def _units(change: LayerChange) -> list[int]:
    return [x.units for x in (change.before, change.after) if x is not None and x.units is not None]
