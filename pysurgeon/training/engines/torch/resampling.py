"""Images at other places: resized, or read along a grid."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from pysurgeon.training.engines.torch.node import CannotRunError, Function, Node, Operator

_SAMPLING = {
    "bilinear": "bilinear",
    "linear": "bilinear",
    "nearest": "nearest",
    "bicubic": "bicubic",
    "cubic": "bicubic",
}


def _resize(node: Node) -> Function:
    """Cubic interpolation by torch. The other kinds are products with matrices, as the views write them."""
    place = node.text("coordinate_transformation_mode", "half_pixel")
    if node.text("mode", "nearest") != "cubic" or place not in ("half_pixel", "align_corners"):
        message = f"{node.text('mode', 'nearest')} interpolation at {place} is not that of torch"
        raise CannotRunError(message)
    if (
        node.number("cubic_coeff_a", -0.75) != -0.75
        or node.integer("exclude_outside", 0)
        or node.integer("antialias", 0)
        or node.integers("axes") is not None
        or node.text("keep_aspect_ratio_policy", "stretch") != "stretch"
    ):
        message = "only plain cubic interpolation with the coefficient -0.75 is known"
        raise CannotRunError(message)
    corners = place == "align_corners"

    def function(
        x: Tensor,
        region: Tensor | None,  # noqa: ARG001  (of a mode that is refused)
        scales: Sequence[float] | None,
        sizes: Sequence[int] | None = None,
    ) -> Tensor:
        if sizes:
            target = list(sizes[2:])
            return functional.interpolate(x, target, mode="bicubic", align_corners=corners)
        factors = list((scales or ())[2:])
        return functional.interpolate(x, scale_factor=factors, mode="bicubic", align_corners=corners)

    return function


def _grid_sample(node: Node) -> Function:
    mode, padding = node.text("mode", "linear"), node.text("padding_mode", "zeros")
    corners = bool(node.integer("align_corners", 0))
    if mode not in _SAMPLING:
        message = f"the mode {mode!r} is not known"
        raise CannotRunError(message)
    return lambda x, grid: functional.grid_sample(x, grid, _SAMPLING[mode], padding, corners)


OPERATORS = {"GridSample": Operator(_grid_sample), "Resize": Operator(_resize, (2, 3))}
