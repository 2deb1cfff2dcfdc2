"""Panoptic-DeepLab's decoders (Cheng et al., CVPR 2020, Sec. 3.1) and the blocks that decoders and heads share."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import Conv2dNormActivation

from pisr_core.backbones import STAGES, Stage
from pisr_core.config import BranchConfig, DeepLabConfig
from pisr_core.models.depthwise import DepthwiseConv2d


def separable_conv(in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1) -> nn.Sequential:
    """A depthwise, then a pointwise convolution, each with norm and activation."""
    return nn.Sequential(
        nn.Sequential(
            DepthwiseConv2d(in_channels, kernel_size, dilation), nn.BatchNorm2d(in_channels), nn.ReLU(inplace=True)
        ),
        Conv2dNormActivation(in_channels, out_channels, kernel_size=1),
    )


def refinement(in_channels: int, middle: int, out_channels: int, separable: bool) -> nn.Sequential:
    """Two 3×3 convolutions, or the one separable 5×5 convolution of the same field of view."""
    if separable:
        return separable_conv(in_channels, out_channels, kernel_size=5)
    return nn.Sequential(
        Conv2dNormActivation(in_channels, middle, kernel_size=3),
        Conv2dNormActivation(middle, out_channels, kernel_size=3),
    )


def resize(maps: Float[Tensor, "b c _ _"], size: tuple[int, int]) -> Float[Tensor, "b c _ _"]:
    """Bilinear, without aligned corners, as all public DeepLab code does it."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: parallel convolutions of growing field of view and the image's mean.

    Args:
        in_channels: of the deepest stage.
        config: widths, dilations, dropout.
        stride: of the deepest stage, pixels.
    """

    def __init__(self, in_channels: int, config: DeepLabConfig, stride: int) -> None:
        super().__init__()
        channels = config.aspp_channels
        self.pool_window = tuple(side // stride for side in config.pool_window)
        self.branches = nn.ModuleList([Conv2dNormActivation(in_channels, channels, kernel_size=1)])
        for dilation in config.aspp_dilations:
            self.branches.append(
                separable_conv(in_channels, channels, 3, dilation)
                if config.depthwise_separable
                else Conv2dNormActivation(in_channels, channels, 3, dilation=dilation)
            )
        self.pooled = nn.Sequential(nn.Conv2d(in_channels, channels, kernel_size=1), nn.ReLU())
        self.project = Conv2dNormActivation((len(self.branches) + 1) * channels, channels, kernel_size=1)
        self.dropout = nn.Dropout(config.aspp_dropout)

    def forward(self, features: Float[Tensor, "b i h w"]) -> Float[Tensor, "b o h w"]:
        """All branches side by side, projected."""
        size = (features.shape[2], features.shape[3])
        outputs = [branch(features) for branch in self.branches]
        outputs.append(resize(self.pooled(self._pool(features)), size))
        return self.dropout(self.project(torch.cat(outputs, dim=1)))

    def _pool(self, features: Tensor) -> Tensor:
        """The mean over the image, or over windows of the training crop's size at every position."""
        if not self.pool_window:
            return features.mean(dim=(2, 3), keepdim=True)
        rows, columns = (
            _sliding_means(length, side, features)
            for length, side in zip(features.shape[2:], self.pool_window, strict=True)
        )
        # Channels are neighbours in memory: they stay last, and nothing is copied.
        means = columns @ features.permute(0, 2, 3, 1)
        return (rows @ means.flatten(2)).unflatten(2, means.shape[2:]).permute(0, 3, 1, 2)


def _sliding_means(length: int, window: int, like: Tensor) -> Float[Tensor, "places length"]:
    """The weights of the mean over a window at each place where it fits, or over the whole side if that is shorter.

    In place of `avg_pool2d`, which cannot be exported with free sizes and is slow with windows this large.
    """
    cells = torch.sym_min(window, length)
    start = torch.arange(length - cells + 1, device=like.device)[:, None]
    position = torch.arange(length, device=like.device)
    inside = ((position >= start) & (position < start + cells)).to(like.dtype)
    return inside / inside.sum(dim=1, keepdim=True)


class DeepLabDecoder(nn.Module):
    """ASPP on the deepest stage, then upsampling step by step with skip connections down to stride 4.

    ResNets and Xception, at output stride 16, give those of strides 8 and 4; HRNet, at 32, that of stride 16 too.

    Args:
        stages: the backbone's.
        branch: this decoder's widths.
        config: what both decoders share.
    """

    def __init__(self, stages: Mapping[str, Stage], branch: BranchConfig, config: DeepLabConfig) -> None:
        super().__init__()
        width, separable = branch.channels, config.depthwise_separable
        skips = dict(reversed(list(zip(STAGES, branch.project_channels, strict=False))))
        inputs = (config.aspp_channels, *[width] * (len(skips) - 1))
        self.aspp = ASPP(stages["res5"].channels, config, stages["res5"].stride)
        self.project = nn.ModuleDict(
            {stage: Conv2dNormActivation(stages[stage].channels, skip, kernel_size=1) for stage, skip in skips.items()}
        )
        self.fuse = nn.ModuleDict(
            {
                stage: refinement(channels + skip, width, width, separable)
                for channels, (stage, skip) in zip(inputs, skips.items(), strict=True)
            }
        )

    def forward(self, pyramid: Mapping[str, Float[Tensor, "b _ _ _"]]) -> Float[Tensor, "b c h w"]:
        """This decoder's share of F, at stride 4."""
        features = self.aspp(pyramid["res5"])
        for stage, project in self.project.items():
            skip = project(pyramid[stage])
            features = self.fuse[stage](torch.cat((skip, resize(features, skip.shape[2:])), dim=1))
        return features
