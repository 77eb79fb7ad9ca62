"""What the commands print with `--json`: frozen dataclasses with the keys as fields, and plain dicts made of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pysurgeon.diagnosis import Recommendation
from pysurgeon.errors import ModelError, Refused
from pysurgeon.evolution import EvolveResult
from pysurgeon.graph import Array
from pysurgeon.model import Model, Port
from pysurgeon.model.costs import Costs, assumed, costs
from pysurgeon.model.fidelity import Beside
from pysurgeon.model.layers import Layer
from pysurgeon.report.printable import Printable
from pysurgeon.surgery import Calibration, Factorize, InsertLayer, Operation, Record, RemoveLayer
from pysurgeon.widths.structure import Structure, Width

if TYPE_CHECKING:
    from rich.console import RenderableType


@dataclass(frozen=True)
class PortDocument:
    """A graph input or output; `None` in the shape for a dimension of unknown size."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str


@dataclass(frozen=True)
class ModelDocument:
    """A model as a whole.

    Attributes:
        parameters: Trainable parameters.
        macs: Multiply-accumulate operations for one sample.
        macs_at: The sizes that open dimensions are taken to have for that.
        not_finite: Weights that hold infinite values or NaN, with how many.
        opset: Version of the standard opset.
        ir_version: Version of the file format.
        inputs: What is fed.
        outputs: What comes out.
    """

    parameters: int
    macs: int
    macs_at: dict[str, int]
    not_finite: dict[str, int]
    opset: int
    ir_version: int
    inputs: tuple[PortDocument, ...]
    outputs: tuple[PortDocument, ...]


@dataclass(frozen=True)
class WidthDocument:
    """A width; see `pysurgeon.widths.structure.Width`."""

    name: str
    size: int
    multiple: int
    resizable: bool
    exact: bool
    reason: str
    writers: tuple[tuple[str, int], ...]
    readers: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class LayerDocument:
    """A layer and what can be done with it.

    Attributes:
        name: The layer.
        operator: ONNX operator type.
        parameters: Elements of weight and bias.
        macs: Multiply-accumulate operations for one sample.
        insertable: Whether a layer can be inserted behind it.
        removable: Whether it can be removed.
        factorizable: Whether it can be factorized so that it gets smaller.
        reason: Why not, for each that is not possible: `insert: ...; remove: ...`; empty if all are.
    """

    name: str
    operator: str
    parameters: int
    macs: int
    insertable: bool
    removable: bool
    factorizable: bool
    reason: str


@dataclass(frozen=True)
class InspectResult(Printable):
    """What a model is made of and what can be operated on."""

    model: ModelDocument
    widths: tuple[WidthDocument, ...]
    layers: tuple[LayerDocument, ...]

    def shown(self) -> RenderableType:
        """As `pysurgeon inspect` shows it."""
        from pysurgeon.report.tables import inspection

        return inspection(self)

    def to_json(self) -> dict[str, Any]:
        """The document of `pysurgeon inspect --json`."""
        return document(self)


def inspect(model: Model) -> InspectResult:
    """Say what a model is made of, what can be operated on and, if not, why.

    Args:
        model: Not modified.
    """
    structure = Structure(model)
    size = costs(model)
    return InspectResult(
        model=ModelDocument(
            parameters=size.parameters,
            macs=size.macs,
            macs_at=assumed(model),
            not_finite=model.not_finite(),
            opset=model.opset,
            ir_version=model.ir.ir_version,
            inputs=tuple(_port(p) for p in model.inputs),
            outputs=tuple(_port(p) for p in model.outputs),
        ),
        widths=tuple(_width(w) for w in structure.widths),
        layers=_layers(structure),
    )


def inspect_json(model: Model) -> dict[str, Any]:
    """The document of `pysurgeon inspect --json`."""
    return inspect(model).to_json()


def recommend_json(
    recommendations: Sequence[Recommendation], validation_accuracy: float | None = None, metric: str = "accuracy"
) -> dict[str, Any]:
    """The document of `pysurgeon recommend --json`.

    Args:
        recommendations: Best first.
        validation_accuracy: That they were ranked for.
        metric: What that is called.
    """
    rows = [
        {
            "operation": str(r.operation),
            "site": r.operation.site,
            "size": r.size,
            "expected_gain": r.expected_gain,
            "score": r.score,
            "parameters": r.parameters,
            "macs": r.macs,
            "evidence": r.evidence,
        }
        for r in recommendations
    ]
    return document({"recommendations": rows, "validation_accuracy": validation_accuracy, "metric": metric})


def apply_json(
    records: Sequence[Record],
    before: Costs,
    after: Costs,
    output: Path | None = None,
    beside_file: Beside | None = None,
) -> dict[str, Any]:
    """The document of `pysurgeon apply --json`.

    Args:
        records: Of the operations, in order.
        before: Costs before all of them.
        after: Costs after all of them.
        output: The file that was written, `None` for a dry run.
        beside_file: How the result compares with the file itself.
    """
    keys = ("operation", "site", "exact", "predicted_error", "site_error", "measured_error", "reason")
    rows = [{key: getattr(record, key) for key in keys} for record in records]
    return document(
        {"operations": rows, "before": before, "after": after, "beside_file": beside_file, "output": output}
    )


def evolve_json(result: EvolveResult) -> dict[str, Any]:
    """The document of `pysurgeon evolve --json`."""
    return document(result)


def document(found: Any) -> dict[str, Any]:
    """A result or a dict as a JSON object; see `_plain`."""
    plain: dict[str, Any] = _plain(found)
    return plain


def _plain(found: Any) -> Any:
    """A result as what JSON knows: dataclasses become objects, paths text, and numbers that are not finite null."""
    if is_dataclass(found) and not isinstance(found, type):
        return _plain(asdict(found))
    if isinstance(found, dict):
        return {str(key): _plain(value) for key, value in found.items()}
    if isinstance(found, (list, tuple)):
        return [_plain(value) for value in found]
    if isinstance(found, Path):
        return str(found)
    if hasattr(found, "item") and getattr(found, "ndim", None) == 0:
        return _plain(found.item())
    return None if isinstance(found, float) and not math.isfinite(found) else found


def _port(port: Port) -> PortDocument:
    return PortDocument(port.name, port.shape, port.dtype.name)


def _width(width: Width) -> WidthDocument:
    return WidthDocument(
        width.name,
        width.size,
        width.multiple,
        width.resizable,
        width.exact,
        width.reason,
        width.writers,
        width.readers,
    )


def _layers(structure: Structure) -> tuple[LayerDocument, ...]:
    return tuple(_layer(structure, layer) for layer in structure.layers)


def _layer(structure: Structure, layer: Layer) -> LayerDocument:
    operations: tuple[Operation, ...] = (InsertLayer(layer.name), RemoveLayer(layer.name), Factorize(layer.name, 1))
    reasons = {operation.kind: _refusal(structure, operation) for operation in operations}
    return LayerDocument(
        name=layer.name,
        operator=layer.operator,
        parameters=layer.parameters,
        macs=layer.macs,
        insertable=not reasons["insert"],
        removable=not reasons["remove"],
        factorizable=not reasons["factorize"],
        reason="; ".join(f"{kind}: {reason}" for kind, reason in reasons.items() if reason),
    )


def _refusal(structure: Structure, operation: Operation) -> str:
    """Why an operation is not possible, empty if it is: ask the operation itself.

    An operation looks at the graph first, and asks for samples or says so once nothing there is in its way. That is the answer; the fit that
    would follow takes seconds a layer in a large network and has no say in it.
    """
    try:
        operation.plan(structure, _NoSamples(structure.model, {}))
    except _SamplesWanted:
        return ""
    except (Refused, ModelError) as error:
        return str(error)
    return ""


class _SamplesWanted(Exception):  # noqa: N818 (it is an answer, not a fault)
    """An operation found nothing in its way and wants to see samples."""


class _NoSamples(Calibration):
    """A calibration batch that stops whoever asks for it."""

    def nothing_in_the_way(self) -> None:
        """Stop.

        Raises:
            _SamplesWanted: Always.
        """
        raise _SamplesWanted

    def activations(self, model: Model, names: list[str]) -> dict[str, Array]:  # noqa: ARG002
        """Stop.

        Raises:
            _SamplesWanted: Always.
        """
        raise _SamplesWanted
