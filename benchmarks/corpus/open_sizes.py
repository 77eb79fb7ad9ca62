"""Models whose height, width or length is open, so that the graph computes sizes: segmenters, detectors, recognizers of text, encoders of sound."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from .recipe import Input, Recipe


def _step(i: int, o: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(i, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU())


class UNet(nn.Module):
    """Maps are pooled three times, and padded to the size of their counterparts on the way up, as is usual."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList([_step(3, 8), _step(8, 12), _step(12, 16), _step(16, 20)])
        self.up = nn.ModuleList([nn.ConvTranspose2d(i, o, 2, 2) for i, o in ((20, 16), (16, 12), (12, 8))])
        self.join = nn.ModuleList([_step(2 * c, c) for c in (16, 12, 8)])
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits for every pixel."""
        kept = [self.down[0](x)]
        for step in self.down[1:]:
            kept.append(step(functional.max_pool2d(kept[-1], 2)))
        y = kept.pop()
        for up, join in zip(self.up, self.join, strict=True):
            beside = kept.pop()
            y = up(y)
            rows, columns = beside.shape[2] - y.shape[2], beside.shape[3] - y.shape[3]
            y = functional.pad(y, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
            y = join(torch.cat([beside, y], 1))
        return self.head(y)


class Pyramid(nn.Module):
    """A detector of text lines: four maps of strides 4 to 32, resized to one another, and a map of probabilities in the size of the input."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_step(3, 8, 2), _step(8, 8, 2))
        self.steps = nn.ModuleList([_step(8, 12, 2), _step(12, 16, 2), _step(16, 20, 2)])
        self.side = nn.ModuleList([nn.Conv2d(c, 12, 1) for c in (8, 12, 16, 20)])
        self.smooth = nn.ModuleList([nn.Conv2d(12, 6, 3, padding=1) for _ in range(4)])
        self.head = nn.Sequential(nn.Conv2d(24, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 1), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """A probability for every pixel."""
        maps = [self.stem(x)]
        for step in self.steps:
            maps.append(step(maps[-1]))
        maps = [side(m) for side, m in zip(self.side, maps, strict=True)]
        for k in (2, 1, 0):
            maps[k] = maps[k] + functional.interpolate(maps[k + 1], size=maps[k].shape[2:], mode="nearest")
        size = maps[0].shape[2:]
        smooth = [functional.interpolate(s(m), size=size) for s, m in zip(self.smooth, maps, strict=True)]
        y = self.head(torch.cat(smooth, 1))
        return functional.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)


class Recognizer(nn.Module):
    """Columns of a line of text of open width are steps, which a recurrent layer reads; logits for a transcription."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(_step(3, 8, 2), _step(8, 12, 2), nn.Conv2d(12, 16, 3, (2, 1), 1), nn.ReLU())
        self.cell = nn.LSTM(16, 10, batch_first=True, bidirectional=True)
        self.head = nn.Linear(20, 11)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits for every step."""
        y = self.trunk(x).mean(2).permute(0, 2, 1)
        return self.head(self.cell(y)[0])


class Sound(nn.Module):
    """Convolutions of stride two along an open length, positions for the steps that come out, and attention with two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            nn.Conv1d(1, 8, 10, 5), nn.GELU(), nn.Conv1d(8, 12, 3, 2), nn.GELU(), nn.Conv1d(12, 16, 3, 2), nn.GELU()
        )
        self.positions = nn.Parameter(torch.randn(1, 400, 16) * 0.1)
        self.qkv, self.out, self.head = nn.Linear(16, 48), nn.Linear(16, 16), nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits for every step."""
        y = self.convolutions(x).transpose(1, 2)
        y = y + self.positions[:, : y.shape[1]]
        n, t, c = y.shape
        q, k, v = self.qkv(y).reshape(n, t, 3, 2, c // 2).permute(2, 0, 3, 1, 4)
        attended = torch.softmax(q @ k.transpose(-1, -2) / (c // 2) ** 0.5, -1) @ v
        return self.head(y + self.out(attended.transpose(1, 2).reshape(n, t, c)))


class Anchors(nn.Module):
    """A detector with anchor points at strides 8 and 16: boxes in pixels and scores, one row for each place of each map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_step(3, 8, 2), _step(8, 12, 2), _step(12, 16, 2))
        self.deep = _step(16, 20, 2)
        self.heads = nn.ModuleList([nn.Conv2d(c, 3 * 7, 1) for c in (16, 20)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Boxes and scores ``(N, places, 7)``."""
        maps, found = [self.stem(x)], []
        maps.append(self.deep(maps[0]))
        for stride, head, features in zip((8, 16), self.heads, maps, strict=True):
            n, _, h, w = features.shape
            y = head(features).view(n, 3, 7, h, w).permute(0, 1, 3, 4, 2).sigmoid()
            rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            grid = torch.stack((columns, rows), 2).view(1, 1, h, w, 2).float()
            middle, size = (y[..., :2] * 2 - 0.5 + grid) * stride, (y[..., 2:4] * 2) ** 2 * stride
            found.append(torch.cat((middle, size, y[..., 4:]), -1).view(n, -1, 7))
        return torch.cat(found, 1)


_IMAGE = Input("input", ("N", 3, "H", "W"))
SMALL: dict[str, tuple[Callable[[], nn.Module], Input, dict[int, str]]] = {
    "unet": (UNet, _IMAGE, {0: "N", 2: "H", 3: "W"}),
    "pyramid": (Pyramid, _IMAGE, {0: "N", 2: "H", 3: "W"}),
    "recognizer": (Recognizer, Input("input", ("N", 3, 32, "W")), {0: "N", 1: "steps"}),
    "sound": (Sound, Input("input", ("N", 1, "L")), {0: "N", 1: "steps"}),
    "anchors": (Anchors, _IMAGE, {0: "N", 1: "places"}),
}
"""Networks that need nothing but torch: the module, its input, and the open axes of its output."""

_SEGMENTERS = ("lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large", "fcn_resnet50")
_BACKBONES = ("resnet18", "resnet50")


class _Logits(nn.Module):
    """A segmenter of torchvision without the dictionary around its logits."""

    def __init__(self, whole: nn.Module) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits for every pixel."""
        return self.whole(x)["out"]


class _Dense(nn.Module):
    """The part of a RetinaNet that has weights: maps of five strides, and scores and boxes for every anchor in one row each."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores and boxes ``(N, anchors, classes + 4)``."""
        found = self.head(list(self.backbone(x).values()))
        return torch.cat((found["cls_logits"], found["bbox_regression"]), -1)


def _torchvision(name: str) -> Recipe:
    from . import torchvision_ops

    torchvision_ops.declare()
    from torchvision import models

    if name in _SEGMENTERS:
        whole = models.get_model(name, weights=None, weights_backbone=None, num_classes=5)
        return Recipe(_Logits(whole), (_IMAGE,), {"output": {0: "N", 2: "H", 3: "W"}})
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
    from torchvision.models.detection.retinanet import RetinaNetHead

    backbone = resnet_fpn_backbone(backbone_name=name.removeprefix("retinanet_"), weights=None, trainable_layers=5)
    head = RetinaNetHead(backbone.out_channels, num_anchors=9, num_classes=5)
    return Recipe(_Dense(backbone, head), (_IMAGE,), {"output": {0: "N", 1: "anchors"}})


def members() -> list[str]:
    """Names, with the variants, without the family."""
    names = [*SMALL, *_SEGMENTERS, *(f"retinanet_{b}" for b in _BACKBONES)]
    return [*names, *(f"{name}@dynamo" for name in names)]


def recipe(name: str) -> Recipe:
    """One of the small networks, or one of torchvision's."""
    if name not in SMALL:
        return _torchvision(name)
    make, given, axes = SMALL[name]
    return Recipe(make(), (given,), {"output": axes})
