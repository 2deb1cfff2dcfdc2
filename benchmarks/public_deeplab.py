"""Panoptic-DeepLab's public training step in plain PyTorch: ResNet-50, separable decoders, as in detectron2's project.

Everything is in torch's own layout, modules and optimiser; nothing is of this package. Parameters stand in the order of
`pisr_core`'s model, from which `copy_weights` takes them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


LAYERS = ((64, 1, (1,) * 3), (128, 2, (1,) * 4), (256, 2, (1,) * 6), (512, 1, (2, 4, 8)))
"""Width and stride of each, and the dilations of its blocks."""


def block(
    inputs: int, outputs: int, size: int = 1, stride: int = 1, dilation: int = 1, groups: int = 1
) -> list[nn.Module]:
    """Convolution, norm, activation."""
    padding = dilation * (size // 2)
    conv = nn.Conv2d(inputs, outputs, size, stride, padding, dilation, groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def separable(inputs: int, outputs: int, size: int, dilation: int = 1) -> nn.Sequential:
    """A depthwise, then a pointwise convolution."""
    return nn.Sequential(*block(inputs, inputs, size, dilation=dilation, groups=inputs), *block(inputs, outputs))


class Bottleneck(nn.Module):
    """ResNet's."""

    def __init__(self, inputs: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.body = nn.Sequential(
            *block(inputs, width), *block(width, width, 3, stride, dilation), *block(width, outputs)[:2]
        )
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else nn.Sequential(*block(inputs, outputs, stride=stride)[:2])

    def forward(self, maps: Tensor) -> Tensor:
        """The next block's maps."""
        return F.relu_(self.body(maps) + self.shortcut(maps))


class Decoder(nn.Module):
    """ASPP, then upsampling in two steps with skip connections."""

    def __init__(self, width: int) -> None:
        super().__init__()
        branches = [separable(2048, 256, 3, dilation) for dilation in (6, 12, 18)]
        self.branches = nn.ModuleList([nn.Sequential(*block(2048, 256)), *branches])
        self.pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(2048, 256, 1), nn.ReLU())
        self.project = nn.Sequential(*block(5 * 256, 256), nn.Dropout(0.1))
        self.skips = nn.ModuleList([nn.Sequential(*block(512, 64)), nn.Sequential(*block(256, 32))])
        self.fuse = nn.ModuleList([separable(256 + 64, width, 5), separable(width + 32, width, 5)])

    def forward(self, res2: Tensor, res3: Tensor, res5: Tensor) -> Tensor:
        """Features at stride 4."""
        parts = [branch(res5) for branch in self.branches]
        maps = self.project(torch.cat([*parts, resize(self.pooled(res5), parts[0])], dim=1))
        for stage, skip, fuse in zip((res3, res2), self.skips, self.fuse, strict=True):
            narrow = skip(stage)
            maps = fuse(torch.cat([narrow, resize(maps, narrow)], dim=1))
        return maps


def resize(maps: Tensor, like: Tensor) -> Tensor:
    """Bilinear."""
    return F.interpolate(maps, size=like.shape[2:], mode="bilinear", align_corners=False)


class PublicDeepLab(nn.Module):
    """Classes' logits, centre heatmap and offsets at the images' own size."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(*block(3, 64, 3, 2), *block(64, 64, 3), *block(64, 128, 3))
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.layers, inputs = nn.ModuleList(), 128
        for width, stride, dilations in (
            (64, 1, (1,) * 3),
            (128, 2, (1,) * 4),
            (256, 2, (1,) * 6),
            (512, 1, (2, 4, 8)),
        ):
            layer = []
            for number, dilation in enumerate(dilations):
                layer.append(Bottleneck(inputs, width, stride if number == 0 else 1, dilation))
                inputs = 4 * width
            self.layers.append(nn.Sequential(*layer))
        self.semantic_decoder, self.instance_decoder = Decoder(256), Decoder(128)
        self.semantic = nn.Sequential(separable(256, 256, 5), nn.Conv2d(256, classes, 1))
        self.center = nn.Sequential(*block(128, 128, 3), *block(128, 32, 3), nn.Conv2d(32, 1, 1))
        self.offset = nn.Sequential(separable(128, 32, 5), nn.Conv2d(32, 2, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of RGB values in 0–255."""
        maps = (images.float() - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
        maps, stages = self.pool(self.stem(maps)), []
        for layer in self.layers:
            maps = layer(maps)
            stages.append(maps)
        semantic, instance = (
            d(stages[0], stages[1], stages[3]) for d in (self.semantic_decoder, self.instance_decoder)
        )
        logits, center, offset = (
            resize(head(of), images)
            for head, of in ((self.semantic, semantic), (self.center, instance), (self.offset, instance))
        )
        return logits, center, 4 * offset


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Gives a network the parameters of another whose parameters have the same order."""
    with torch.no_grad():
        for theirs, ours in zip(target.parameters(), source.parameters(), strict=True):
            theirs.copy_(ours)


def public_step(network: PublicDeepLab, batch: object, learning_rate: float) -> Callable[[], dict[str, float]]:
    """The next training step, each time that it is called: Adam, a fifth of the pixels for the classes' loss."""
    optimizer = torch.optim.Adam(network.parameters(), learning_rate)
    targets = batch.targets  # type: ignore[attr-defined]

    def step() -> dict[str, float]:
        optimizer.zero_grad()
        logits, center, offset = network(batch.images)  # type: ignore[attr-defined]
        pixels = F.cross_entropy(logits, targets.semantic.long(), ignore_index=255, reduction="none")
        pixels = (pixels * targets.semantic_weight).flatten()
        losses = {
            "semantic": pixels.topk(int(0.2 * pixels.numel())).values.mean(),
            "center": 200 * weighted(F.mse_loss(center, targets.center, reduction="none"), targets.center_weight),
            "offset": 0.01 * weighted(F.l1_loss(offset, targets.offset, reduction="none"), targets.offset_weight),
        }
        sum(losses.values()).backward()
        optimizer.step()
        return {name: loss.item() for name, loss in losses.items()}

    return step


def weighted(errors: Tensor, weight: Tensor) -> Tensor:
    """Their sum over the sum of the weights."""
    return (errors * weight).sum() / weight.sum().clamp(min=1)
