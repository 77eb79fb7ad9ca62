"""The figures of a run, its training and its front: matplotlib draws them, the page's style sheet colours them."""

from __future__ import annotations

import html
import io
import re
from typing import TYPE_CHECKING, Any

from pysurgeon.report.run_summary import BranchRecord, Curve, GenerationRecord, RunRecord, Tested

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_svg import FigureCanvasSVG

# Placeholders that are replaced by variables of the style sheet, so that the figure follows light and dark.
_COLOURS = {
    "#a00001": "--trunk",
    "#a00002": "--loser",
    "#a00003": "--alone",
    "#a00004": "--muted",
    "#a00005": "--band",
    "#a00006": "--rule",
    "#a00007": "--page",
    "#a00008": "--random",
}
_TRUNK, _LOSER, _ALONE, _MUTED, _BAND, _RULE, _PAGE, _RANDOM = _COLOURS

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pysurgeon-curves",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.0,
    "path.simplify": False,
    "axes.unicode_minus": True,
}


def curves_svg(run: RunRecord) -> str:
    """Validation accuracy over the steps of the trunk, as an SVG element without sizes of its own; empty without data.

    Only numbers of the run enter, no text of it.
    """
    if not run.trunk:
        return ""
    from matplotlib import rc_context
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    with rc_context(_STYLE):
        canvas, axes = _drawing(4.5, (0.055, 0.115, 0.935, 0.72))
        last = max(step for curve in _curves(run) for step, _ in curve)
        axes.set_xlim(0, last * 1.005)
        heights = [accuracy for curve in _curves(run) for _, accuracy in curve]
        room = max(0.01, 0.06 * (max(heights) - min(heights)))
        axes.set_ylim(max(min(0.0, min(heights)), min(heights) - room), min(1.0 + room / 3, max(heights) + room))
        _bands(axes, run.generations, last)
        for generation in run.generations:
            for branch in generation.branches:
                if branch is not generation.taken and len(branch.curve) > 1:
                    _loser(axes, branch)
        if run.alone_curve:
            axes.plot(*_xy(run.alone_curve), color=_ALONE, lw=1.6, dashes=(4, 2.5), zorder=4)
        axes.plot(*_xy(run.trunk), color=_TRUNK, lw=2.6, zorder=5, solid_capstyle="round")
        for generation in run.generations:
            taken = generation.taken
            if taken is not None and taken.operations:
                axes.plot(*taken.curve[0], marker="o", ms=7.5, mfc=_PAGE, mec=_TRUNK, mew=2, zorder=6, clip_on=False)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
        axes.set_xlabel("steps along the trunk", color=_MUTED)
        _legend(axes, run)
        document = _printed(canvas)
    return _element(
        document,
        "curves",
        f"Validation {html.escape(run.metric)} over the steps of the trunk",
        "A bold line for the trunk, thin lines for the branches that lost up to the step where they were stopped, a dashed line for "
        "the start trained alone. The tables below hold the figures.",
    )


def spending_svg(run: RunRecord) -> str:
    """Validation accuracy over compute, on a logarithmic axis, as `curves_svg` has it; empty without data."""
    if not run.trunk_spending or not run.alone_spending:
        return ""
    from matplotlib import rc_context

    with rc_context(_STYLE):
        canvas, axes = _drawing(3.6, (0.055, 0.145, 0.935, 0.82))
        axes.set_xscale("log")
        axes.plot(*_xy(run.alone_spending), color=_ALONE, lw=1.6, dashes=(4, 2.5), zorder=4)
        axes.plot(*_xy(run.trunk_spending), color=_TRUNK, lw=2.6, zorder=5, solid_capstyle="round")
        end = run.all_effort.compute, run.trunk_spending[-1][1]
        axes.plot(*end, marker="o", ms=7.5, mfc=_PAGE, mec=_TRUNK, mew=2, zorder=6, clip_on=False)
        axes.set_xlabel("multiply-accumulate operations", color=_MUTED)
        document = _printed(canvas)
    return _element(
        document,
        "spending",
        f"Validation {html.escape(run.metric)} over compute",
        "A bold line for the trunk, a dashed line for the start trained alone, each over the compute of its own training; a ring at the compute of "
        "all branches together. The table of what it cost holds the figures.",
    )


def front_svg(run: RunRecord) -> str:
    """Test accuracy over parameters and over latency for the networks of the front; empty without one.

    Only numbers of the run enter, no text of it.
    """
    if not run.front:
        return ""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator

    with rc_context(_STYLE):
        figure = Figure(figsize=(11.2, 3.6))
        canvas = FigureCanvasSVG(figure)
        figure.patch.set_visible(False)
        panels = (("parameters", (0.055, 0.155, 0.44, 0.8)), ("latency, ms", (0.55, 0.155, 0.44, 0.8)))
        for title, place in panels:
            axes = figure.add_axes(place)
            axes.patch.set_visible(False)
            points = [(_cost(m.tested, title), m.tested.figures.test_accuracy) for m in run.front]
            axes.plot(*zip(*sorted(points), strict=True), color=_TRUNK, lw=1.0, zorder=2)
            for k, (x, y) in enumerate(points):
                axes.plot(x, y, marker="o", ms=8, mfc=_TRUNK if k == 0 else _PAGE, mec=_TRUNK, mew=2, zorder=3)
            axes.set_xscale("log")
            axes.margins(0.12)
            axes.spines[["top", "right"]].set_visible(False)
            axes.spines[["left", "bottom"]].set_color(_RULE)
            axes.tick_params(which="both", colors=_MUTED, length=3, color=_RULE)
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axes.xaxis.set_minor_formatter("")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.12g}"))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g} %"))
            axes.grid(axis="y", color=_RULE, lw=0.6)
            axes.set_axisbelow(True)
            axes.set_xlabel(title, color=_MUTED)
        document = _printed(canvas)
    return _element(
        document,
        "front",
        f"Test {html.escape(run.metric)} of the front over parameters and latency",
        "Circles for the networks of the front, a filled one for the result. The table below holds the figures.",
    )


def _cost(tested: Tested, title: str) -> float:
    return float(max(1, tested.figures.parameters)) if title == "parameters" else max(1e-6, tested.figures.latency_ms)


def _drawing(height: float, box: tuple[float, float, float, float]) -> tuple[FigureCanvasSVG, Axes]:
    """A canvas as wide as the page, with axes for accuracies."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(11.2, height))
    canvas = FigureCanvasSVG(figure)
    axes = figure.add_axes(box)
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_RULE)
    axes.tick_params(which="both", colors=_MUTED, length=3, color=_RULE)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g} %"))
    axes.grid(axis="y", color=_RULE, lw=0.6)
    axes.set_axisbelow(True)
    return canvas, axes


def _printed(canvas: FigureCanvasSVG) -> str:
    buffer = io.StringIO()
    canvas.print_svg(buffer, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def _curves(run: RunRecord) -> list[Curve]:
    return [run.trunk, run.alone_curve, *(b.curve for g in run.generations for b in g.branches)]


def _xy(curve: Curve) -> tuple[list[int], list[float]]:
    return [step for step, _ in curve], [accuracy for _, accuracy in curve]


def _loser(axes: Axes, branch: BranchRecord) -> None:
    colour = _RANDOM if branch.origin == "random" else _LOSER
    axes.plot(*_xy(branch.curve), color=colour, lw=1.0, zorder=2)
    if branch.fate != "racing":
        axes.plot(*branch.curve[-1], marker="|", ms=6, mec=colour, mew=1.3, zorder=3)


def _bands(axes: Axes, generations: tuple[GenerationRecord, ...], last: int) -> None:
    for generation in generations:
        end = generation.end if generation.end is not None else last
        if generation.number % 2:
            axes.axvspan(generation.begin, end, color=_BAND, lw=0, zorder=0)
        axes.annotate(
            f"{generation.number}",
            ((generation.begin + end) / 2, 1.0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            color=_MUTED,
        )
    if generations and generations[0].begin > 0.045 * last:
        axes.annotate(
            "generation",
            (generations[0].begin, 1.0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(-4, 4),
            textcoords="offset points",
            ha="right",
            color=_MUTED,
        )


def _legend(axes: Axes, run: RunRecord) -> None:
    from matplotlib.lines import Line2D

    entries = [Line2D([], [], color=_TRUNK, lw=2.6, label="trunk")]
    if any(g.taken is not None and g.taken.operations for g in run.generations):
        entries.append(
            Line2D([], [], ls="", marker="o", ms=7.5, mfc=_PAGE, mec=_TRUNK, mew=2, label="operated and carried on")
        )
    beaten = [b for g in run.generations for b in g.branches if b is not g.taken and len(b.curve) > 1]
    if any(b.origin != "random" for b in beaten):
        entries.append(
            Line2D([], [], color=_LOSER, lw=1, marker="|", ms=6, mew=1.3, label="other branches, to their end")
        )
    if any(b.origin == "random" for b in beaten):
        entries.append(
            Line2D([], [], color=_RANDOM, lw=1, marker="|", ms=6, mew=1.3, label="of them random operations")
        )
    if run.alone_curve:
        entries.append(Line2D([], [], color=_ALONE, lw=1.6, dashes=(4, 2.5), label="start trained alone"))
    axes.legend(
        handles=entries,
        loc="lower left",
        bbox_to_anchor=(-0.005, 1.075),
        ncols=len(entries),
        frameon=False,
        labelcolor=_MUTED,
        borderaxespad=0,
        handlelength=2.2,
        columnspacing=2.2,
    )


def _element(document: str, name: str, title: str, description: str) -> str:
    """The `svg` element of a document, scalable, described, with colours of the style sheet and names of its own."""
    element = document[document.index("<svg") :]
    head, _, body = element.partition(">")
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None
    for placeholder, variable in _COLOURS.items():
        body = body.replace(placeholder, f"var({variable})")
    body = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", body)
    namespaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    described = f'<title id="{name}-title">{title}</title><desc id="{name}-desc">{description}</desc>'
    # Two figures of one page must not have the same names inside.
    body = re.sub(r'(id="|href="#|url\(#)', rf"\g<1>{name}-", body)
    return f'<svg {namespaces} {box.group()} role="img" aria-labelledby="{name}-title {name}-desc">{described}{body.strip()}'
