"""Export a small start network with torch: deliberately too small for its data, so that there is something to rescue.

python examples/export_start.py digits start.onnx
"""

from __future__ import annotations

import argparse
import logging
import warnings
from pathlib import Path

import torch
from torch import nn

# channels, height and width of a sample; filters of both convolutions; units of the dense layer
SETS = {
    "digits": ((1, 8, 8), 2, 4),
    "svhn": ((3, 32, 32), 4, 8),
    "cifar10": ((3, 32, 32), 4, 8),
    "mnist": ((1, 28, 28), 2, 4),
    "fashion-mnist": ((1, 28, 28), 2, 4),
}


class Start(nn.Module):
    """Two convolutions and two dense layers."""

    def __init__(self, shape: tuple[int, int, int], filters: int, units: int) -> None:
        super().__init__()
        channels, height, width = shape
        self.conv1 = nn.Conv2d(channels, filters, 3, padding=1)
        self.conv2 = nn.Conv2d(filters, filters, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(filters * (height // 4) * (width // 4), units)
        self.fc2 = nn.Linear(units, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (N, 10) of images (N, C, H, W)."""
        x = self.pool(self.conv1(x).relu())
        x = self.pool(self.conv2(x).relu())
        return self.fc2(self.fc1(x.flatten(1)).relu())


def export(data: str, path: Path, *, seed: int = 0, scale: int = 1, dynamo: bool = False) -> None:
    """Write the start network for a data set.

    Args:
        data: A key of `SETS`.
        path: The .onnx file.
        seed: Of the initial weights.
        scale: Filters and units are multiplied by it: what is far too large shows the other direction.
        dynamo: Which of torch's two exporters to use.
    """
    shape, filters, units = SETS[data]
    torch.manual_seed(seed)
    network = Start(shape, filters * scale, units * scale).eval()
    sample = torch.zeros(2, *shape)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters announce their own future
        if dynamo:
            batch = {0: torch.export.Dim("batch")}
            torch.onnx.export(
                network, (sample,), str(path), dynamo=True, dynamic_shapes=(batch,), external_data=False, verbose=False
            )
        else:
            torch.onnx.export(
                network,
                (sample,),
                str(path),
                dynamo=False,
                opset_version=17,
                input_names=["image"],
                output_names=["logits"],
                dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
            )


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", choices=sorted(SETS))
    parser.add_argument("path", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", type=int, default=1, help="multiply filters and units")
    parser.add_argument("--dynamo", action="store_true", help="use torch's newer exporter")
    arguments = parser.parse_args()
    export(arguments.data, arguments.path, seed=arguments.seed, scale=arguments.scale, dynamo=arguments.dynamo)
    print(f"{arguments.path}: {arguments.path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
