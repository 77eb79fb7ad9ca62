"""What the libraries of classifiers lack: other dimensions, other ways up, other products."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812  (as everybody calls it)
from torch import nn

from .recipe import Input, Recipe, images


class UNet(nn.Module):
    """Two levels down and up again, with skips that are concatenated."""

    def __init__(self, up: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        self.down1, self.down2, self.bottom = _double(3, 12), _double(12, 20), _double(20, 28)
        self.up2, self.up1 = up(28, 20), up(20, 12)
        self.join2, self.join1 = _double(20 + 20, 20), _double(12 + 12, 12)
        self.head = nn.Conv2d(12, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits for every pixel."""
        skip1 = self.down1(x)
        skip2 = self.down2(F.max_pool2d(skip1, 2))
        y = self.bottom(F.max_pool2d(skip2, 2))
        y = self.join2(torch.cat([self.up2(y), skip2], 1))
        return self.head(self.join1(torch.cat([skip1, self.up1(y)], 1)))


def _double(width: int, wider: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(width, wider, 3, padding=1, bias=False),
        nn.BatchNorm2d(wider),
        nn.ReLU(),
        nn.Conv2d(wider, wider, 3, padding=1, bias=False),
        nn.BatchNorm2d(wider),
        nn.ReLU(),
    )


def _resize(width: int, narrower: int) -> nn.Module:
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(width, narrower, 1))


def _transposed(width: int, narrower: int) -> nn.Module:
    return nn.ConvTranspose2d(width, narrower, 2, stride=2)


class ShuffleBlocks(nn.Module):
    """Split, a branch, concatenation, shuffle: twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks, self.head = (
            nn.Conv2d(3, 20, 3, 2, 1),
            nn.ModuleList([_branch(10), _branch(10)]),
            nn.Linear(20, 7),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        y = self.stem(x)
        for block in self.blocks:
            left, right = y.chunk(2, dim=1)
            y = torch.cat([left, block(right)], 1)
            n, _, height, width = y.shape
            y = y.view(n, 2, 10, height, width).transpose(1, 2).reshape(n, 20, height, width)
        return self.head(y.mean((2, 3)))


def _branch(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(width, width, 1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1, groups=width),
        nn.BatchNorm2d(width),
        nn.Conv2d(width, width, 1),
        nn.ReLU(),
    )


class Mixture(nn.Module):
    """Experts whose outputs are mixed by Einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.gate, self.head = nn.Linear(10, 24), nn.Linear(24, 3), nn.Linear(20, 5)
        self.experts = nn.Parameter(torch.randn(3, 24, 20) * 24**-0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        y = torch.tanh(self.stem(x))
        each = torch.einsum("nd,edh->neh", y, self.experts)
        return self.head(torch.einsum("ne,neh->nh", self.gate(y).softmax(-1), each).relu())


class BilinearAttention(nn.Module):
    """Attention written in Einsum, as in research code."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Parameter(torch.randn(10, 4, 6) * 0.4) for _ in range(3))
        self.out = nn.Parameter(torch.randn(4, 6, 10) * 0.3)
        self.norm, self.head = nn.LayerNorm(10), nn.Linear(10, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits for every step."""
        q, k, v = (torch.einsum("ntd,dhk->nthk", x, w) for w in (self.query, self.key, self.value))
        weights = torch.einsum("nthk,nshk->nhts", q, k).mul(6**-0.5).softmax(-1)
        mixed = torch.einsum("nhts,nshk->nthk", weights, v)
        return self.head(self.norm(x + torch.einsum("nthk,hkd->ntd", mixed, self.out)))


class Encoder(nn.Module):
    """torch's own transformer, with a token in front."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.token = nn.Linear(10, 24), nn.Parameter(torch.zeros(1, 1, 24))
        layer = nn.TransformerEncoderLayer(24, 4, 40, batch_first=True, norm_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(24, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        y = torch.cat([self.token.expand(x.shape[0], -1, -1), self.stem(x)], 1)
        return self.head(self.encoder(y)[:, 0])


def _cnn1d() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(1, 12, 9, stride=4),
        nn.BatchNorm1d(12),
        nn.ReLU(),
        nn.Conv1d(12, 20, 5, stride=2, dilation=2),
        nn.BatchNorm1d(20),
        nn.LeakyReLU(0.1),
        nn.MaxPool1d(2),
        nn.Conv1d(20, 28, 3, groups=4),
        nn.ELU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(28, 7),
    )


def _cnn3d() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(2, 12, 3, padding=1),
        nn.BatchNorm3d(12),
        nn.ReLU(),
        nn.MaxPool3d(2),
        nn.Conv3d(12, 20, 3, padding=1),
        nn.PReLU(20),
        nn.AvgPool3d(2),
        nn.Flatten(),
        nn.Linear(20 * 2 * 3 * 3, 7),
    )


def _super_resolution() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 24, 5, padding=2),
        nn.Tanh(),
        nn.Conv2d(24, 20, 3, padding=1),
        nn.Tanh(),
        nn.Conv2d(20, 9, 3, padding=1),
        nn.PixelShuffle(3),
    )


def _autoencoder() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, 2, 1),
        nn.GroupNorm(3, 12),
        nn.SiLU(),
        nn.Conv2d(12, 20, 3, 2, 1),
        nn.InstanceNorm2d(20, affine=True),
        nn.GELU(),
        nn.Flatten(),
        nn.Linear(20 * 7 * 7, 18),
        nn.Linear(18, 20 * 7 * 7),
        nn.Unflatten(1, (20, 7, 7)),
        nn.ConvTranspose2d(20, 12, 4, 2, 1, groups=4),
        nn.ReLU(),
        nn.ConvTranspose2d(12, 1, 4, 2, 1),
        nn.Sigmoid(),
    )


_MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[Input, ...], dict[int, str]]] = {
    "cnn1d": (_cnn1d, (Input("input", ("N", 1, 400)),), {0: "N"}),
    "cnn3d": (_cnn3d, (Input("input", ("N", 2, 8, 12, 12)),), {0: "N"}),
    "unet_transposed": (lambda: UNet(_transposed), images(32), {0: "N"}),
    "unet_resize": (lambda: UNet(_resize), images(32), {0: "N"}),
    "super_resolution": (_super_resolution, images(16, 1), {0: "N"}),
    "shuffle_blocks": (ShuffleBlocks, images(32), {0: "N"}),
    "mixture_einsum": (Mixture, (Input("input", ("N", 10)),), {0: "N"}),
    "attention_einsum": (BilinearAttention, (Input("input", ("N", "T", 10)),), {0: "N", 1: "T"}),
    "transformer_encoder": (Encoder, (Input("input", ("N", "T", 10)),), {0: "N"}),
    "autoencoder": (_autoencoder, images(28, 1), {0: "N"}),
}


def members() -> list[str]:
    """Names, with the variants, without the family."""
    return [*_MODELS, *(f"{name}@dynamo" for name in _MODELS)]


def recipe(name: str) -> Recipe:
    """One of the small networks above."""
    make, inputs, axes = _MODELS[name]
    return Recipe(make(), inputs, {"output": axes})
