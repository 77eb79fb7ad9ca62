"""Commands that look at models and operate on them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from pysurgeon.cli._app import app, err, guarded, opened, out, print_json
from pysurgeon.cli._options import (
    DataDir,
    DataName,
    Force,
    Json,
    Limit,
    ModelPath,
    Normal,
    Normalize,
    Objective,
    OptionalData,
    Seed,
    Threads,
    Trainer,
)

if TYPE_CHECKING:
    from pysurgeon.data import Dataset


@app.command()
@guarded
def inspect(model: ModelPath, as_json: Json = False) -> None:
    """What a model is made of, what can be operated on and, if not, why."""
    from pysurgeon import report

    loaded = opened(model)
    found = report.inspect(loaded)
    if as_json:
        print_json(found.to_json())
        return
    whole = found.model
    out.print(f"{whole.parameters:,} parameters, {whole.macs:,} MACs a sample, opset {whole.opset}", markup=False)
    for title, ports in (("input", whole.inputs), ("output", whole.outputs)):
        for port in ports:
            shape = ", ".join("any" if d is None else str(d) for d in port.shape)
            out.print(Text(f"{title} {port.name!r}: {port.dtype} ({shape})"))
    for table in (report.widths_table(found), report.layers_table(found)):
        out.print()
        out.print(table)


@app.command()
@guarded
def doctor(
    model: ModelPath,
    data: OptionalData = None,
    data_dir: DataDir = None,
    trainer: Trainer = "ort",
    as_json: Json = False,
) -> None:
    """Will it train, node by node: what trains, is rewritten for that, stays frozen or has no gradient; and what helps."""
    from pysurgeon.training import WorkerTrainer, training_report

    loaded = opened(model)
    dataset = None if data is None else _load_data(data, data_dir)
    facts = training_report(loaded, "classification" if dataset is None else dataset.task, trainer=trainer)
    verdict = "every node that has to can be differentiated"
    blocked = [f for f in facts if f.status == "no gradient"]
    if blocked:
        verdict = (
            f"{len(blocked)} nodes have no gradient, {blocked[0].node!r} ({blocked[0].operator}) the first of them"
        )
    elif dataset is not None:
        with WorkerTrainer(1, 1, trainer=trainer) as worker:
            worker.check(loaded, dataset)
        verdict = "it fits the data, and the training engine takes it"
    if as_json:
        print_json({"trains": not blocked, "verdict": verdict, "nodes": [asdict(f) for f in facts]})
        return
    table = Table(box=None, pad_edge=False)
    for title in ("node", "operator", "training", ""):
        table.add_column(title, overflow="fold")
    for fact in facts:
        # Text rather than markup: names come from a file.
        table.add_row(*(Text(repr(text)[1:-1]) for text in (fact.node, fact.operator, fact.status, fact.detail)))
    out.print(table)
    out.print(verdict, style="red" if blocked else "green", markup=False)


@app.command()
@guarded
def recommend(
    model: ModelPath,
    data: DataName,
    data_dir: DataDir = None,
    limit: Limit = None,
    normalize: Normal = "auto",
    objective: Annotated[Objective, typer.Option("--objective", help="What is to become better.")] = "accuracy",
    price: Annotated[float, typer.Option("--price", help="Accuracy that 1 % more parameters has to buy.")] = 2e-5,
    top: Annotated[int, typer.Option("--top", min=1, help="How many to show.")] = 12,
    seed: Seed = 0,
    threads: Threads = 1,
    as_json: Json = False,
) -> None:
    """Ranked operations with their evidence."""
    from pysurgeon import api, report
    from pysurgeon.training import as_expected

    loaded = opened(model)
    dataset = as_expected(loaded, _load_data(data, data_dir, limit, normalize, seed))
    err.print(dataset.summary(), markup=False, soft_wrap=True)
    with err.status("looking at the model"):
        found = api.recommend(loaded, dataset, objective=objective, price=price, seed=seed, threads=threads)
    shown = list(found.recommendations[:top])
    if as_json:
        print_json(report.recommend_json(shown))
        return
    err.print(f"validation accuracy {found.validation_accuracy:.2%}")
    out.print(report.recommendations_table(shown))


@app.command()
@guarded
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
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Where to write it; a dry run without.")] = None,
    data: OptionalData = None,
    data_dir: DataDir = None,
    limit: Limit = None,
    normalize: Normal = "auto",
    seed: Seed = 0,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Operate on a model and verify it by running both. Without -o nothing is written."""
    from pysurgeon import api, report
    from pysurgeon.graph import ensure_free, save
    from pysurgeon.surgery import parse

    parsed = [parse(text, seed=seed + k) for k, text in enumerate(operations)]
    loaded = opened(model)
    ensure_free([output] if output else [], force=force)
    dataset = None if data is None else _load_data(data, data_dir, limit, normalize, seed)
    result = api.apply(loaded, *parsed, data=dataset)
    if output is not None:
        save(result.model, output, force=force)
    if as_json:
        print_json(report.apply_json(result.operations, result.before, result.after))
        return
    out.print(report.records_table(result.operations))
    err.print(f"written to {output}" if output else "a dry run: nothing is written without -o", markup=False)


@app.command()
@guarded
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", show_default=False)],
    b: Annotated[Path, typer.Argument(metavar="B", show_default=False)],
    data: OptionalData = None,
    data_dir: DataDir = None,
    limit: Limit = None,
    normalize: Normal = "auto",
    seed: Seed = 0,
    threads: Threads = 1,
    as_json: Json = False,
) -> None:
    """Difference of outputs, test accuracy, parameters, MACs and latency of two models."""
    from pysurgeon import report

    models = opened(a), opened(b)
    dataset = None if data is None else _load_data(data, data_dir, limit, normalize, seed)
    with err.status("comparing"):
        found = report.compare(*models, dataset, threads=threads)
    if as_json:
        print_json(found.to_json())
        return
    out.print(report.comparison_table(found))


def _load_data(
    name: str,
    data_dir: Path | None,
    limit: int | None = None,
    normalize: Normalize = "auto",
    seed: int = 0,
) -> Dataset:
    from pysurgeon.data import load

    return load(name, data_dir=data_dir, limit=limit, normalize=normalize, seed=seed)
