"""Commands that look at models and operate on them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pysurgeon.cli._app import app, err, guarded, opened, opened_beside, out, print_json, print_table
from pysurgeon.cli._options import OUTPUT, Fix, Force, Json, ModelPath
from pysurgeon.cli._reading import read_for
from pysurgeon.cli._settings import READING, takes
from pysurgeon.settings import SEARCH

# How many outputs are named before the rest is left out.
_NAMES = 20


@app.command(epilog="Example: pysurgeon inspect model.onnx")
@guarded
def inspect(model: ModelPath, fix: Fix = None, as_json: Json = False) -> None:
    """What a model is made of, what can be operated on and, if not, why."""
    from pysurgeon import api, report

    loaded = opened(model, fix)
    found = api.inspect(loaded)
    if as_json:
        print_json(found.to_json())
        return
    print_table(report.inspection(found, loaded.why_not_finite()))


@app.command(epilog="Example: pysurgeon doctor model.onnx --data mine.npz")
@guarded
@takes(("data", *READING, "seed", "threads", "trainer"), required=False)
def doctor(
    model: ModelPath,
    given: Any = None,
    fix: Fix = None,
    as_json: Json = False,
) -> None:
    """Will it train, node by node: what trains, is rewritten for that, stays frozen or has no gradient; and what helps."""
    from pysurgeon import api, report

    loaded = opened(model, fix)
    dataset = None if given["data"] is None else read_for(given, loaded)
    found = api.doctor(loaded, dataset, threads=given["threads"], trainer=given["trainer"])
    if as_json:
        accuracy = {} if dataset is None else {"validation_accuracy": found.validation_accuracy, "metric": found.metric}
        nodes = [asdict(f) for f in found.nodes]
        doubts = {"cautions": found.cautions} if found.cautions else {}
        print_json({"trains": found.trains, "verdict": found.verdict, **accuracy, **doubts, "nodes": nodes})
        return
    print_table(report.training_table(found.nodes))
    if dataset is not None:
        names = [*dataset.classes[:_NAMES], *["..."][: len(dataset.classes) - _NAMES]]
        out.print(f"outputs in this order: {', '.join(names)}", markup=False, soft_wrap=True)
    if found.validation_accuracy is not None:
        out.print(f"as it is: validation {found.metric} {found.validation_accuracy:.2%}", markup=False, soft_wrap=True)
    style = "red" if not found.trains else "yellow" if found.cautions else "green"
    out.print(found.verdict, style=style, markup=False, soft_wrap=True)


@app.command(epilog="Example: pysurgeon recommend model.onnx --data digits --top 5")
@guarded
@takes(("data", *READING, "price", "seed", "threads", "trainer"))
def recommend(
    model: ModelPath,
    given: Any = None,
    objective: Annotated[
        Literal["accuracy", "size", "latency"],
        typer.Option("--objective", rich_help_panel=SEARCH, help="What is to become better."),
    ] = "accuracy",
    top: Annotated[
        int, typer.Option("--top", rich_help_panel=OUTPUT, metavar="N", min=1, help="How many to show.")
    ] = 12,
    fix: Fix = None,
    as_json: Json = False,
) -> None:
    """Ranked operations with their evidence."""
    from pysurgeon import api, report

    loaded = opened(model, fix)
    dataset = read_for(given, loaded)
    with err.status("looking at the model"):
        how = {name: given[name] for name in ("price", "seed", "threads", "trainer")}
        found = api.recommend(loaded, dataset, objective=objective, **how)
    shown = list(found.recommendations[:top])
    if as_json:
        print_json(report.recommend_json(shown, found.validation_accuracy, found.metric))
        return
    err.print(f"validation {found.metric} {found.validation_accuracy:.2%}", markup=False)
    print_table(report.recommendations_table(shown, found.metric))


@app.command(epilog="Example: pysurgeon apply model.onnx widen:conv1=64 insert:fc1 --data digits -o operated.onnx")
@guarded
@takes(("data", *READING, "seed"), required=False)
def apply(
    model: ModelPath,
    operations: Annotated[
        list[str],
        typer.Argument(
            metavar="OP...",
            help="widen:WIDTH=SIZE, narrow:WIDTH=SIZE, insert:LAYER, remove:LAYER, factorize:LAYER=RANK, "
            "bypass:LAYER, bypass:LAYER..LAYER",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", rich_help_panel=OUTPUT, metavar="FILE", help="Where to write it; a dry run without."
        ),
    ] = None,
    given: Any = None,
    force: Force = False,
    fix: Fix = None,
    as_json: Json = False,
) -> None:
    """Operate on a model and verify it by running both. Without -o nothing is written."""
    from pysurgeon import api, report
    from pysurgeon.model import ensure_free, save, written
    from pysurgeon.report.tables import GENERATED
    from pysurgeon.surgery import parse

    parsed = [parse(text, seed=given["seed"] + k) for k, text in enumerate(operations)]
    loaded = opened(model, fix)
    ensure_free([output] if output else [], force=force)
    dataset = None if given["data"] is None else read_for(given, loaded)
    if dataset is None and not all(operation.exact for operation in parsed):
        err.print(f"note: {GENERATED[0].lower()}{GENERATED[1:]}", markup=False, soft_wrap=True)
    result = api.apply(loaded, *parsed, data=dataset)
    if output is not None:
        save(result.model, output, force=force)
    if as_json:
        print_json(report.apply_json(result.operations, result.before, result.after, output, result.beside_file))
        return
    print_table(report.records_table(result.operations, generated=dataset is None))
    err.print(report.beside_file(result.beside_file), markup=False, soft_wrap=True)
    said = f"written to {written(output)}" if output else "a dry run: nothing is written without -o"
    err.print(said, markup=False, soft_wrap=True)


@app.command(epilog="Example: pysurgeon compare model.onnx operated.onnx --data digits")
@guarded
@takes(("data", *READING, "seed", "threads"), required=False)
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", show_default=False)],
    b: Annotated[Path, typer.Argument(metavar="B", show_default=False)],
    given: Any = None,
    fix: Fix = None,
    as_json: Json = False,
) -> None:
    """Difference of outputs, test accuracy, parameters, MACs and latency of two models."""
    from pysurgeon import api, report

    models = opened_beside(a, b, fix)
    dataset = None if given["data"] is None else read_for(given, *models)
    with err.status("comparing"):
        found = api.compare(*models, dataset, threads=given["threads"])
    if as_json:
        print_json(found.to_json())
        return
    # Two results of that name, each in its run's folder, would not be told apart by it.
    names = ("A", "B") if a.name == b.name else (a.name, b.name)
    print_table(report.comparison_table(found, names))
