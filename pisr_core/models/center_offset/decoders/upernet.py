"""UPerNet's decoder (Xiao et al., ECCV 2018, Sec. 3.2): a feature pyramid on top of pyramid pooling."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import Conv2dNormActivation

from pisr_core.backbones import STAGES, Stage
from pisr_core.config import UPerNetConfig
from pisr_core.models.center_offset.decoders.deeplab import resize


class PyramidPooling(nn.Module):
    """The image's mean features in cells of several sizes beside the features themselves (PSPNet, Sec. 3.2).

    The pooled branches have no norm: on the coarsest map it would see one value for each image and channel.

    Args:
        in_channels: of the deepest stage.
        channels: of each branch and of the result.
        scales: cells a side.
    """

    def __init__(self, in_channels: int, channels: int, scales: tuple[int, ...]) -> None:
        super().__init__()
        self.scales = scales
        self.branches = nn.ModuleList(
            [Conv2dNormActivation(in_channels, channels, kernel_size=1, norm_layer=None) for _ in scales]
        )
        self.project = Conv2dNormActivation(in_channels + len(scales) * channels, channels, kernel_size=3)

    def forward(self, features: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h w"]:
        """All scales side by side, projected."""
        size = (features.shape[2], features.shape[3])
        pooled = [
            resize(branch(F.adaptive_avg_pool2d(features, scale)), size)
            for scale, branch in zip(self.scales, self.branches, strict=True)
        ]
        return self.project(torch.cat((features, *pooled), dim=1))


class UPerNetDecoder(nn.Module):
    """Pyramid pooling on the deepest stage, a top-down path to stride 4, and all its levels fused there.

    Args:
        stages: the backbone's.
        config: widths and scales.
    """

    def __init__(self, stages: Mapping[str, Stage], config: UPerNetConfig) -> None:
        super().__init__()
        channels, skips = config.channels, STAGES[:-1]
        self.pooling = PyramidPooling(stages["res5"].channels, channels, config.pool_scales)
        self.lateral = nn.ModuleDict(
            {stage: Conv2dNormActivation(stages[stage].channels, channels, kernel_size=1) for stage in skips}
        )
        self.output = nn.ModuleDict({stage: Conv2dNormActivation(channels, channels, kernel_size=3) for stage in skips})
        self.fuse = Conv2dNormActivation(len(STAGES) * channels, channels, kernel_size=3)

    def forward(self, pyramid: Mapping[str, Float[Tensor, "b _ _ _"]]) -> Float[Tensor, "b c h w"]:
        """F, at stride 4."""
        top = self.pooling(pyramid["res5"])
        levels = [top]
        for stage in ("res4", "res3", "res2"):
            lateral = self.lateral[stage](pyramid[stage])
            top = lateral + resize(top, lateral.shape[2:])
            levels.append(self.output[stage](top))
        size = (top.shape[2], top.shape[3])
        return self.fuse(torch.cat([resize(level, size) for level in reversed(levels)], dim=1))
