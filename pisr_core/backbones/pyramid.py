"""Backbones: timm's networks as pyramids of named stages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

from pisr_core.backbones.networks import DIVISORS, Network

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
"""ImageNet's mean and standard deviation of RGB values in 0–255: what all backbones take their images with."""

STAGES = ("res2", "res3", "res4", "res5")
"""Names of the pyramid's stages, at strides 4, 8, 16, 32 (less where the output stride is limited)."""

MADE_CHANNELS = 256
"""Width of the stages that a network lacks."""


@dataclass(frozen=True)
class Stage:
    """What a backbone says of one of its outputs: channels and stride in pixels."""

    channels: int
    stride: int


def stage_strides(output_stride: int) -> tuple[int, ...]:
    """Strides of the four stages where that of the deepest is limited, pixels."""
    return tuple(min(stride, output_stride) for stride in (4, 8, 16, 32))


class Backbone(nn.Module):
    """A timm network whose forward gives the four stages of its pyramid by name.

    Args:
        body: timm's network; its last four maps are the stages.
        output_stride: of the deepest, pixels.

    Attributes:
        stages: channels and stride of each stage.
        body: timm's network.
    """

    def __init__(self, body: nn.Module, output_stride: int = 32) -> None:
        super().__init__()
        self.body = body
        # Convolutional networks have a stem at stride 2 before these, which nothing here reads.
        info = body.feature_info.get_dicts()[-4:]  # type: ignore[union-attr, operator]
        self.stages: Mapping[str, Stage] = {
            name: Stage(entry["num_chs"], stride)
            for name, entry, stride in zip(STAGES, info, stage_strides(output_stride), strict=True)
        }

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> dict[str, Float[Tensor, "b _ _ _"]]:
        """Features of each stage, `res2` (stride 4) to `res5`; H and W are multiples of the output stride.

        Args:
            images: RGB values minus `PIXEL_MEAN`, divided by `PIXEL_STD`.
        """
        return dict(zip(STAGES, self.body(images)[-4:], strict=True))


class SwinBackbone(Backbone):
    """Swin with a layer norm on each stage's output, as all public dense Swin models have it.

    timm rolls the map before it pads it to whole windows, the original code after: the two agree on images whose
    stages are multiples of the window, elsewhere cells near the border differ slightly.
    """

    def __init__(self, body: nn.Module, output_stride: int = 32) -> None:
        super().__init__(body, output_stride)
        self.norms = nn.ModuleDict({name: nn.LayerNorm(stage.channels) for name, stage in self.stages.items()})

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> dict[str, Float[Tensor, "b _ _ _"]]:
        """As in `Backbone`, from timm's maps with channels last."""
        return {
            name: self.norms[name](maps).permute(0, 3, 1, 2).contiguous()
            for name, maps in zip(STAGES, self.body(images), strict=True)
        }


class AdaptedBackbone(Backbone):
    """Any network of timm that gives maps.

    Stages that it has are its own; those that it lacks are made from its map of the nearest stride, as ViTDet's
    simple feature pyramid makes all four from a plain transformer's last map (Li et al., ECCV 2022, Sec. 3).

    Args:
        body: timm's network.
        network: what is known of it.
        output_stride: of the deepest stage, pixels.
    """

    def __init__(self, body: nn.Module, network: Network, output_stride: int = 32) -> None:
        nn.Module.__init__(self)
        self.body = body
        self.network = network
        targets = stage_strides(output_stride)
        self.sources = dict(zip(STAGES, _sources(network, targets), strict=True))
        self.made = nn.ModuleDict()
        stages = {}
        for name, stride in zip(STAGES, targets, strict=True):
            source = Stage(network.channels[self.sources[name]], network.strides[self.sources[name]])
            if network.is_single_scale or source.stride != stride:
                self.made[name] = MadeStage(source, stride)
            stages[name] = Stage(MADE_CHANNELS if name in self.made else source.channels, stride)
        self.stages = stages
        # Images come as multiples of the output stride, which most networks take.
        self.divisor = network.divisor if network.divisor > DIVISORS[0] or network.strides[-1] > output_stride else 1
        scale, shift = (torch.tensor(values)[:, None, None] for values in _renormalisation(network))
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    def forward(self, images: Float[Tensor, "b 3 H W"]) -> dict[str, Float[Tensor, "b _ _ _"]]:
        """As in `Backbone`."""
        size = (images.shape[2], images.shape[3])
        maps = [self._fitted(each, i, size) for i, each in enumerate(self.body(self._seen(images)))]
        own = {name: maps[source] for name, source in self.sources.items()}
        pyramid = {name: self.made[name](each) if name in self.made else each for name, each in own.items()}
        return pyramid if self.divisor == 1 else {name: self._own_part(name, pyramid[name], size) for name in pyramid}

    def _seen(self, images: Float[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 _ _"]:
        """The images with the values, at the scale and of the size that the network takes."""
        if self.divisor > 1:
            below, right = (-side % self.divisor for side in images.shape[2:])
            images = F.pad(images, (0, right, 0, below))
        images = images * self.scale + self.shift  # type: ignore[operator]
        if self.network.scale == 1:
            return images
        size = [round(side * self.network.scale) for side in images.shape[2:]]
        return F.interpolate(images, size=size, mode="bilinear", antialias=True)

    def _own_part(self, name: str, maps: Tensor, size: tuple[int, int]) -> Float[Tensor, "b _ _ _"]:
        """A stage without what stands for the padding."""
        height, width = (side // self.stages[name].stride for side in size)
        return maps[:, :, :height, :width]

    def _fitted(self, maps: Tensor, index: int, size: tuple[int, int]) -> Float[Tensor, "b _ _ _"]:
        """A map of the network with channels first and a cell for each `stride` pixels."""
        stride, divisor = self.network.strides[index], self.divisor
        if self.network.channels_last:
            maps = maps.permute(0, 3, 1, 2).contiguous()
        if not self.network.exact:
            padded = [(side + -side % divisor) // stride for side in size]
            maps = F.interpolate(maps, size=padded, mode="bilinear")
        return maps


class MadeStage(nn.Module):
    """A stage of ViTDet's simple feature pyramid: a map is rescaled by transposed convolutions or pooling, then mixed.

    Args:
        source: the map's channels and stride.
        stride: the stage's, pixels.
    """

    def __init__(self, source: Stage, stride: int) -> None:
        super().__init__()
        channels, steps = source.channels, round(math.log2(source.stride / stride))
        layers: list[nn.Module] = [nn.MaxPool2d(2) for _ in range(-steps)]
        for step in range(steps):
            layers += [LayerNorm2d(channels), nn.GELU()] if step else []
            layers.append(nn.ConvTranspose2d(channels, channels // 2, kernel_size=2, stride=2))
            channels //= 2
        self.rescale = nn.Sequential(*layers)
        self.mix = nn.Sequential(
            nn.Conv2d(channels, MADE_CHANNELS, kernel_size=1, bias=False),
            LayerNorm2d(MADE_CHANNELS),
            nn.Conv2d(MADE_CHANNELS, MADE_CHANNELS, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(MADE_CHANNELS),
        )

    def forward(self, maps: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o _ _"]:
        """The stage's features."""
        return self.mix(self.rescale(maps))


def _sources(network: Network, targets: tuple[int, ...]) -> list[int]:
    """Which map each stage is, or is made from: the last of the nearest stride, a plain network's last."""
    if network.strides[-4:] == targets:
        return list(range(len(network.strides) - 4, len(network.strides)))
    order = range(len(network.strides))
    return [min(order, key=lambda i: (abs(math.log2(network.strides[i] / stride)), -i)) for stride in targets]


def _renormalisation(network: Network) -> tuple[list[float], list[float]]:
    """Scale and shift from images with our mean and standard deviation to those with the network's."""
    scale = [ours / 255 / theirs for ours, theirs in zip(PIXEL_STD, network.std, strict=True)]
    shift = [
        (ours / 255 - theirs) / std for ours, theirs, std in zip(PIXEL_MEAN, network.mean, network.std, strict=True)
    ]
    return scale, shift
