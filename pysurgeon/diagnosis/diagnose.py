"""What is known about every width and layer of a model after looking at it with real data."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pysurgeon.diagnosis.criteria import activation_rank, effective_rank, stable_rank, weight_rank
from pysurgeon.errors import ModelError, Refused
from pysurgeon.graph import Array, sizes
from pysurgeon.kernels.threads import blas_threads
from pysurgeon.model.layers import Layer
from pysurgeon.surgery import Calibration, RemoveLayer
from pysurgeon.surgery.layers.weight_matrices import form_of
from pysurgeon.surgery.methods.elimination import Elimination
from pysurgeon.surgery.operations.factorize import largest_rank, principal_directions, required_activations
from pysurgeon.surgery.operations.narrow import cost_curve
from pysurgeon.widths.structure import Structure, Width

# Values going into a layer beyond which the fit that could replace it is not tried: it takes their number to the third power.
LARGEST_FIT = 2048


@dataclass(frozen=True)
class WidthDiagnosis:
    """A width as its readers see it.

    Attributes:
        width: The width.
        activation_rank: Principal components of the units by Minka's BIC.
        effective_rank: Exponential of the spectrum's entropy.
        dead: Units that never change.
        elimination: What the readers lose as units go (the cost curve of narrowing).
    """

    width: Width
    activation_rank: int
    effective_rank: float
    dead: int
    elimination: Elimination

    @property
    def full(self) -> bool:
        """Whether every unit carries a direction of its own.

        One component less than units fits any covariance (the last direction is the noise), so more is never found.
        """
        return self.activation_rank >= self.width.size - 1

    def removable(self, error: float) -> int:
        """How many units can go at a relative root mean square error of the readers of at most `error`."""
        return min(int(np.sum(self.elimination.cost <= error**2)), self.width.size - 1)


@dataclass(frozen=True)
class LayerDiagnosis:
    """A layer's weight and what it does.

    Attributes:
        layer: The layer.
        shape: Of the weight as a matrix (outputs, inputs times taps); of each where there are several, as in groups.
        singular_values: Descending, float32; of several matrices the root of the mean square of those in the same place.
        weight_rank: Directions of the weight that stand out of its noise (see `criteria`); of several matrices the most.
        effective_rank: Of the squared singular values.
        stable_rank: Of the weight.
        largest_rank: Largest rank for which factors are smaller, 0 if none.
        output_energy: Energies of the output's principal directions, of all matrices together (see `Directions`).
        linearity: R^2 of the readers' fit on the layer's input, `None` where the layer cannot be removed or has more
            inputs than `LARGEST_FIT`.
    """

    layer: Layer
    shape: tuple[int, int]
    singular_values: Array
    weight_rank: int
    effective_rank: float
    stable_rank: float
    largest_rank: int
    output_energy: Array
    linearity: float | None

    def rank_for(self, error: float) -> int:
        """Smallest rank whose factors have at most this relative root mean square error of the output."""
        total = float(self.output_energy.sum())
        if total <= 0:
            return 1
        left = 1.0 - np.cumsum(self.output_energy) / total
        left[-1] = 0.0  # whatever the sums have rounded to
        return int(np.argmax(left <= error**2)) + 1

    def error(self, rank: int) -> float:
        """Relative root mean square error of the output with factors of this rank."""
        total = float(self.output_energy.sum())
        return float(np.sqrt(self.output_energy[rank:].sum() / total)) if total > 0 else 0.0


@dataclass(frozen=True)
class Diagnosis:
    """All widths and layers of a model that can be operated on."""

    structure: Structure
    widths: tuple[WidthDiagnosis, ...]
    layers: tuple[LayerDiagnosis, ...]


def diagnose(structure: Structure, calibration: Calibration, *, threads: int = 1) -> Diagnosis:
    """Look at a model with the calibration batch.

    Args:
        structure: The model's widths and layers.
        calibration: Samples of the training data.
        threads: For the singular values of all layers.

    Raises:
        ModelError: A layer gives values that are no finite numbers.
    """
    outputs = {str(layer.output.name): layer for layer in structure.layers}
    # All at once: each call that asks for a value that is not there yet runs the whole model.
    for name, values in calibration.activations(structure.model, [*outputs, *_looked_at(structure)]).items():
        if name in outputs and not np.isfinite(values).all():
            message = (
                f"layer {outputs[name].name!r} gives values that are no finite numbers on the calibration batch; train the "
                "model again from an earlier state, or check how the data is normalized"
            )
            raise ModelError(message)
    with blas_threads():
        widths = tuple(_width(structure, w, calibration) for w in structure.widths if w.resizable)
        return Diagnosis(structure, widths, tuple(_layers(structure, calibration, threads)))


def _looked_at(structure: Structure) -> Iterator[str]:
    """The values that widths and layers are judged by, beside the layers' outputs."""
    for width in structure.widths:
        if width.resizable:
            yield from (read.value for read in width.reads)
            yield from (name for product in width.products for name in (product.value, product.other))
    for layer in structure.layers:
        yield from RemoveLayer(layer.name).required_activations(structure)
        with contextlib.suppress(Refused):
            yield required_activations(structure, layer)


def _width(structure: Structure, width: Width, calibration: Calibration) -> WidthDiagnosis:
    if width.reads:
        rows = calibration.rows(structure, width.reads[0], width.dim)
    else:
        rows = calibration.units_of(structure, width.products[0].value, width.products[0].axis, width.dim)
    covariance = np.atleast_2d(np.cov(rows, rowvar=False))
    eigenvalues = np.maximum(np.linalg.eigvalsh(covariance)[::-1], 0.0)
    variances = np.diag(covariance)
    return WidthDiagnosis(
        width=width,
        activation_rank=activation_rank(eigenvalues, len(rows)),
        effective_rank=effective_rank(eigenvalues),
        dead=int(np.sum(variances <= 1e-12 * max(float(variances.max()), 1e-300))),
        elimination=cost_curve(structure, width, calibration),
    )


def _layers(structure: Structure, calibration: Calibration, threads: int) -> list[LayerDiagnosis]:
    from pysurgeon import kernels

    known: list[tuple[Layer, Array]] = []
    for layer in structure.layers:
        # What is shared or not float32 is no layer's own.
        with contextlib.suppress(Refused):
            form = form_of(structure, layer)
            known.append((layer, form.matrices(structure.model.tensor(layer.weight))))
    spectra = iter(kernels.singular_values([m for _, matrices in known for m in matrices], threads=threads))
    found = []
    for layer, matrices in known:
        shape = (matrices.shape[1], matrices.shape[2])
        each = [next(spectra) for _ in matrices]
        values = np.sqrt(np.mean(np.square(each, dtype=np.float64), axis=0)).astype(np.float32)
        found.append(
            LayerDiagnosis(
                layer=layer,
                shape=shape,
                singular_values=values,
                weight_rank=max(weight_rank(v, shape) for v in each),
                effective_rank=effective_rank(np.square(values, dtype=np.float64)),
                stable_rank=stable_rank(values),
                largest_rank=largest_rank(shape),
                output_energy=principal_directions(structure, layer, calibration).energy,
                linearity=_linearity(structure, layer, calibration),
            )
        )
    return found


def _linearity(structure: Structure, layer: Layer, calibration: Calibration) -> float | None:
    units = (sizes(layer.data) or (None,))[layer.units_axis]
    if units is None or units > LARGEST_FIT:
        return None
    try:
        return RemoveLayer(layer.name).linearity(structure, calibration)
    except Refused:
        return None
