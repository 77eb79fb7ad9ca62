r"""A layer as the matrices that it multiplies with: one, or one for each group.

Whatever holds a weight is written as a contraction, `result = data * weight` in the letters of Einsum (`Form`). A letter of the weight
that is in the data and in the result counts groups; one that is in the result only, outputs; one that is not in the result, inputs. So
a dense layer is `nk, km -> nm`, a convolution `ngcXY, gmcxy -> ngmXY` (its inputs are the channels of the group and the taps), an
embedding `nt, vd -> ntd` (the inputs are the tokens, of which one is on), and a recurrent cell `tni, dgi -> tndg` (directions and gates are
outputs, because all of them take the same input).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from string import ascii_letters, ascii_uppercase

import numpy as np
import onnx_ir as ir

from pysurgeon.errors import Refused
from pysurgeon.graph import Array, count_uses, sizes
from pysurgeon.graph.einsum import subscripts
from pysurgeon.graph.nodes import STUMBLED
from pysurgeon.model.layers import Layer
from pysurgeon.widths.structure import Structure


@dataclass(frozen=True)
class Form:
    """A layer as a contraction.

    Attributes:
        data: A letter for every axis of what the layer takes.
        weight: Of the weight as the node sees it.
        result: Of what the product gives.
        split: Into how many groups the first axis of the weight and the channels of data and result are split before they are lettered,
            0 where they are not.
        patches: Whether an output is made of something else than one row of the data: of patches, or of tokens.
        hidden: Whether nobody but the node sees the product.
        batch: The letter that counts samples where it is not the first one of the data.
        perm: What the stored weight is transposed by on its way to the node.
        shape: Of the weight as the node sees it.
    """

    data: str
    weight: str
    result: str
    split: int = 0
    patches: bool = False
    hidden: bool = False
    batch: str = ""
    perm: tuple[int, ...] = ()
    shape: tuple[int, ...] = ()

    @property
    def groups(self) -> str:
        """Letters that count matrices."""
        return "".join(x for x in self.weight if x in self.data and x in self.result)

    @property
    def outputs(self) -> str:
        """Letters of a matrix' rows."""
        return "".join(x for x in self.weight if x in self.result and x not in self.data)

    @property
    def inputs(self) -> str:
        """Letters of a matrix' columns."""
        return "".join(x for x in self.weight if x not in self.result)

    @property
    def count(self) -> int:
        """Number of matrices."""
        return prod(self.size(self.groups))

    @property
    def rows(self) -> int:
        """Outputs of each of them."""
        return prod(self.size(self.outputs))

    @property
    def columns(self) -> int:
        """Inputs of each of them: of a convolution, times taps."""
        return prod(self.size(self.inputs))

    def size(self, letters: str) -> tuple[int, ...]:
        """The sizes of some letters of the weight."""
        shape = self._view(self.shape)
        return tuple(shape[self.weight.index(x)] for x in letters)

    def ensure_covers(self) -> None:
        """See that the letters stand for all axes of the weight.

        Raises:
            ValueError: They do not, or a group has a fraction of a unit.
        """
        view = self._view(self.shape)
        if prod(view) != prod(self.shape) or not len(view) == len(self.weight) == len(
            self.groups + self.outputs + self.inputs
        ):
            message = f"a weight {self.shape} is no {self.weight!r}"
            raise ValueError(message)

    def matrices(self, weight: Array) -> Array:
        """The matrices (count, rows, columns) of an array laid out as the stored weight is, perhaps with other numbers of units."""
        seen = weight.transpose(self.perm)
        seen = seen.reshape(self._view(seen.shape))
        groups, outputs, inputs = (
            [self.weight.index(x) for x in part] for part in (self.groups, self.outputs, self.inputs)
        )
        sizes_ = [prod(seen.shape[k] for k in part) for part in (groups, outputs, inputs)]
        return seen.transpose(*groups, *outputs, *inputs).reshape(sizes_)

    def stored(self, matrices: Array, shape: tuple[int, ...]) -> Array:
        """The other way: the weight of this shape that matrices stand for, as it is stored."""
        seen = tuple(shape[k] for k in self.perm)
        view = dict(zip(self.weight, self._view(seen), strict=True))
        letters = self.groups + self.outputs + self.inputs
        array = arranged(matrices.reshape([view[x] for x in letters]), letters, self.weight).reshape(seen)
        return array.transpose(np.argsort(self.perm))

    def given(self, result: Array) -> Array:
        """What the layer gave, as (count, samples, rows)."""
        return self._samples(result, self.result, self.outputs)

    def taken(self, data: Array, *, by_sample: bool) -> Array:
        """What the layer took, as (count, samples, columns); not for patches.

        Args:
            data: Its operand.
            by_sample: Whether all rows of a sample follow one another, else they are in the order of the data.
        """
        if by_sample and self.batch:
            axis = self.data.index(self.batch)
            letters = self.batch + self.data.replace(self.batch, "")
            return self._samples(np.moveaxis(data, axis, 0), letters, self.inputs)
        return self._samples(data, self.data, self.inputs)

    def _samples(self, array: Array, letters: str, units: str) -> Array:
        if self.split:
            array = array.reshape(len(array), self.split, -1, *array.shape[2:])
        units = "".join(x for x in units if x in letters)
        rest = "".join(x for x in letters if x not in self.groups + units)
        array = arranged(array, letters, self.groups + rest + units)
        groups = self.size(self.groups)  # an operand of one element goes with all of them
        array = np.broadcast_to(array, (*groups, *array.shape[len(groups) :]))
        count, width = (prod(self.size(x)) for x in (self.groups, units))
        return array.reshape(count, -1, width)

    def _view(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (self.split, shape[0] // self.split, *shape[1:]) if self.split else shape


def arranged(array: Array, letters: str, wanted: str) -> Array:
    """An array with its axes in another order; a letter that it lacks becomes an axis of size one."""
    order = [letters.index(x) for x in wanted if x in letters]
    if array.ndim != len(order):
        message = f"there is a value of {array.ndim} axes where the file has one of {len(order)}"
        raise Refused(message)
    array = array.transpose(order)
    return array.reshape(
        [array.shape[[x for x in wanted if x in letters].index(x)] if x in letters else 1 for x in wanted]
    )


def form_of(structure: Structure, layer: Layer) -> Form:
    """How a layer multiplies.

    Raises:
        Refused: Its weight is not float32, not its own, empty, or no matrix.
    """
    weight = structure.model.tensor(layer.weight)
    operand = layer.node.inputs[layer.weight_position]
    assert operand is not None
    if not weight.size:
        message = f"the weight of layer {layer.name!r}, of the shape {weight.shape}, holds nothing"
        raise Refused(message)
    if weight.dtype != np.float32 or operand.dtype != ir.DataType.FLOAT:
        message = f"the weight of layer {layer.name!r} is {weight.dtype}, used as {operand.dtype}, not float32"
        raise Refused(message)
    if count_uses(structure.model.ir.graph.initializers[layer.weight]) > 1:
        message = (
            f"the weight of layer {layer.name!r} is used elsewhere, too, so factors of this use would save nothing"
        )
        raise Refused(message)
    perm = _permutation(operand, weight.ndim)
    shape = tuple(weight.shape[k] for k in perm)
    try:
        form = replace(_FORMS[layer.operator](layer, shape), perm=perm, shape=shape)
        form.ensure_covers()
        _check_bias(structure, layer, form)
    except STUMBLED as error:
        message = f"layer {layer.name!r} with a weight {shape} is not formed as {layer.operator} is"
        raise Refused(message) from error
    return form


def weight_matrices(structure: Structure, layer: Layer, form: Form) -> Array:
    """The weight of a layer as float64 (count, rows, columns)."""
    return form.matrices(structure.model.tensor(layer.weight)).astype(np.float64)


def weight_matrix(structure: Structure, layer: Layer) -> Array:
    """The weight of a layer that is one matrix of what it gives, float64 (outputs, inputs times taps).

    Raises:
        Refused: It is several, or goes through gates before anybody sees what it gives, or is not float32 or not the layer's own.
    """
    form = form_of(structure, layer)
    if form.count != 1 or form.hidden:
        message = f"layer {layer.name!r} is not one matrix: it has {'gates' if form.hidden else f'{form.count} groups'}"
        raise Refused(message)
    return np.asarray(weight_matrices(structure, layer, form)[0])


def offset(structure: Structure, layer: Layer) -> Array:
    """What a layer's own node adds to every unit: float64 (outputs,), or (1,) where it is the same for all of them."""
    if layer.bias is None:
        return np.zeros(1)
    bias = structure.model.tensor(layer.bias).astype(np.float64).reshape(-1)
    return np.asarray(bias * float(layer.node.attributes.get_float("beta", 1.0)))


def _check_bias(structure: Structure, layer: Layer, form: Form) -> None:
    has_bias = layer.operator in ("Conv", "ConvTranspose", "Gemm") and len(layer.node.inputs) > 2
    if has_bias and layer.node.inputs[2] is not None and layer.bias is None:
        message = f"the bias of layer {layer.name!r} is computed"
        raise Refused(message)
    if layer.bias is not None:
        shape = structure.model.tensor(layer.bias).shape
        if prod(shape) not in (1, form.count * form.rows) or prod(shape) != (shape[-1] if shape else 1):
            message = (
                f"the bias of layer {layer.name!r} has the shape {shape}: it is not one number for each of its outputs"
            )
            raise Refused(message)


def _permutation(value: ir.Value, rank: int) -> tuple[int, ...]:
    """By what a stored tensor is transposed until it is this value."""
    if value.is_initializer():
        return tuple(range(rank))
    node = value.producer()
    assert node is not None
    assert node.inputs[0] is not None
    before = _permutation(node.inputs[0], rank)
    if node.op_type != "Transpose":
        return before
    return tuple(before[k] for k in node.attributes.get_ints("perm", tuple(range(rank))[::-1]))


def _convolution(layer: Layer, shape: tuple[int, ...]) -> Form:
    taps, places = "tuvwxyz"[: len(shape) - 2], ascii_uppercase[: len(shape) - 2]
    attributes = layer.node.attributes
    plain = all(k == 1 for k in (*shape[2:], *attributes.get_ints("strides", ()))) and not any(
        attributes.get_ints("pads", ())
    )
    group = int(attributes.get_int("group", 1))
    weight = f"gmc{taps}" if layer.operator == "Conv" else f"gcm{taps}"
    return Form(
        f"ngc{places}", weight, f"ngm{places}", split=group, patches=not plain or layer.operator == "ConvTranspose"
    )


def _gemm(layer: Layer, shape: tuple[int, ...]) -> Form:  # noqa: ARG001
    attributes = layer.node.attributes
    data = "kn" if attributes.get_int("transA", 0) else "nk"
    return Form(data, "mk" if attributes.get_int("transB", 0) else "km", "nm")


def _matmul(layer: Layer, shape: tuple[int, ...]) -> Form:
    data, result = sizes(layer.data), sizes(layer.output)
    if data is None or result is None:
        message = f"layer {layer.name!r}: the shapes of its input and output are not known"
        raise Refused(message)
    if len(shape) < 2:
        message = f"the weight of layer {layer.name!r} is a vector; only matrices can be factorized"
        raise Refused(message)
    leading = ascii_uppercase[: max(len(data), len(shape)) - 2]
    of_weight = leading[len(leading) - len(shape) + 2 :]
    of_data = leading[len(leading) - max(0, len(data) - 2) :]
    # A leading axis of size one goes with any size of the other operand: it counts nothing.
    of_weight = "".join(x.lower() if n == 1 else x for x, n in zip(of_weight, shape[:-2], strict=True))
    known = dict(zip(of_weight, shape[:-2], strict=True))
    of_data = "".join(
        str(k) if n == 1 and known.get(x, 1) != 1 else x
        for k, (x, n) in enumerate(zip(of_data, data[:-2], strict=True))
    )
    rows = "s" if len(data) > 1 else ""
    if layer.weight_position == 1:
        return Form(f"{of_data}{rows}k", f"{of_weight}km", f"{leading}{rows}m")
    return Form(f"{of_data}k{rows}", f"{of_weight}mk", f"{leading}m{rows}")


def _einsum(layer: Layer, shape: tuple[int, ...]) -> Form:
    known = subscripts(layer.node)
    if known is not None and len(known[0]) == 2:
        parts, result = known
        weight, data = parts[layer.weight_position], parts[1 - layer.weight_position]
        taken = dict(zip(data, sizes(layer.data) or (), strict=False))
        stretched = [x for x, n in zip(weight, shape, strict=True) if taken.get(x, n) not in (n, None)]
        alone = [x for x in weight + data if x not in result and not (x in weight and x in data)]
        if not stretched and not alone:
            return Form(data, weight, result)
    equation = layer.node.attributes.get_string("equation", "")
    message = f"layer {layer.name!r} computes {equation!r}, which is no product of a weight's matrices with what the layer takes"
    raise Refused(message)


def _embedding(layer: Layer, shape: tuple[int, ...]) -> Form:
    places = sizes(layer.data)
    if places is None or len(shape) != 2:
        message = f"the table of layer {layer.name!r} has {len(shape)} axes; only tables of one vector a row can be factorized"
        raise Refused(message)
    letters = ascii_uppercase[: len(places)]
    return Form(letters, "vd", f"{letters}d", patches=True)


def _recurrent(layer: Layer, shape: tuple[int, ...]) -> Form:  # noqa: ARG001
    data = "nti" if layer.node.attributes.get_int("layout", 0) else "tni"
    return Form(data, "dgi", "tndg", hidden=True, batch="n")


_FORMS: dict[str, Callable[[Layer, tuple[int, ...]], Form]] = {
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Einsum": _einsum,
    "Gather": _embedding,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
}


def free_letter(form: Form) -> str:
    """A letter that a form does not use."""
    return next(x for x in ascii_letters if x not in form.data + form.weight + form.result)
