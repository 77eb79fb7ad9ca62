"""Every classifier of torchvision, at the smallest input it accepts."""

from __future__ import annotations

import torch

from . import torchvision_ops
from .recipe import Recipe, images

torchvision_ops.declare()

from torchvision import models

# One of each family also goes through the new exporter.
_DYNAMO = (
    "alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3 maxvit_t mnasnet0_5 mobilenet_v2 "
    "mobilenet_v3_small regnet_x_400mf regnet_y_400mf resnet18 resnet50 resnext50_32x4d shufflenet_v2_x0_5 squeezenet1_1 swin_t swin_v2_t "
    "vgg11 vgg11_bn vit_b_16 wide_resnet50_2"
).split()
_BATCH_NORM = "resnet18 mobilenet_v2 densenet121".split()
# More than 300 million parameters: last, so that they can be left out by stopping.
_GIANTS = "vit_l_16 vit_l_32 vit_h_14 regnet_y_128gf".split()
_SIZES = {
    # The legacy exporter needs the size of the feature map to be a multiple of what the adaptive pooling asks for.
    "alexnet": 224,
    "vgg": 224,
    "inception_v3": 96,
    "googlenet": 96,
    "maxvit": 96,
    # Two stages that shift their windows of 7, one that fits, one that pads.
    "swin": 112,
    "vit_h_14": 56,
}


def members() -> list[str]:
    """Names, with the variants, without the family."""
    every = [name for name in models.list_models(module=models) if name not in _GIANTS]
    names = [*every, *(f"{name}@dynamo" for name in _DYNAMO)]
    names += [f"{name}@{variant}" for name in _BATCH_NORM for variant in ("training", "preserve")]
    return names + _GIANTS


def recipe(name: str) -> Recipe:
    """The model `name` with 1000 classes."""
    size = next((size for prefix, size in _SIZES.items() if name.startswith(prefix)), 64)
    return Recipe(_module(name, size), images(size))


def _module(name: str, size: int) -> torch.nn.Module:
    if name.startswith("vit"):
        return models.get_model(name, weights=None, image_size=size)
    if name == "maxvit_t":
        # As torchvision builds it, with windows of 3 instead of 7, which fit an image of 96 instead of 224 pixels.
        return models.MaxVit(
            input_size=(size, size),
            stem_channels=64,
            block_channels=[64, 128, 256, 512],
            block_layers=[2, 2, 5, 2],
            head_dim=32,
            stochastic_depth_prob=0.2,
            partition_size=3,
        )
    if name in ("googlenet", "inception_v3"):
        # The auxiliary classifiers are for training, and cannot do with a small image.
        return models.get_model(name, weights=None, aux_logits=False, init_weights=True)
    return models.get_model(name, weights=None)
