"""What every family of the corpus says about a model, so that one place exports and checks all of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

# Pairwise different, and different from most widths: an axis that is confused with another one shows.
EXPORTED = {"N": 2, "T": 7, "H": 64, "W": 96, "L": 1600}
CHECKED = {"N": 3, "T": 11, "H": 128, "W": 160, "L": 2400}


@dataclass(frozen=True)
class Input:
    """One input: sizes, or names of open axes ("N", "T", "H", "W", "L"), and what its values may be.

    Attributes:
        shape: Integers, and keys of `EXPORTED` where the axis is open.
        below: None for floats (standard normal); otherwise integers from 0 to `below` - 1.
    """

    name: str
    shape: tuple[int | str, ...]
    below: int | None = None

    def draw(self, rng: np.random.Generator, sizes: dict[str, int]) -> torch.Tensor:
        """A random value; every call differs."""
        shape = [sizes[size] if isinstance(size, str) else size for size in self.shape]
        if self.below is None:
            return torch.from_numpy(rng.standard_normal(shape).astype(np.float32))
        return torch.from_numpy(rng.integers(0, self.below, shape))

    @property
    def axes(self) -> dict[int, str]:
        """The dynamic axes."""
        return {axis: size for axis, size in enumerate(self.shape) if isinstance(size, str)}


@dataclass
class Recipe:
    """A module with its inputs; how it is exported is decided by the variant in the name.

    Attributes:
        outputs: Name and dynamic axes of every output.
    """

    module: torch.nn.Module
    inputs: tuple[Input, ...]
    outputs: dict[str, dict[int, str]] = field(default_factory=lambda: {"output": {0: "N"}})
    opset: int = 17


def images(size: int, channels: int = 3) -> tuple[Input, ...]:
    """The one input of an image classifier, with a dynamic batch."""
    return (Input("input", ("N", channels, size, size)),)
