"""Panoptic FPN's decoder: the feature pyramid and the semantic branch on it (Kirillov et al., CVPR 2019, Sec. 3)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import Conv2dNormActivation, FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from pisr_core.backbones import STAGES, Stage

LEVELS = ("p2", "p3", "p4", "p5")
"""Levels that boxes and the semantic branch read, at strides 4, 8, 16, 32; the proposals read `p6` too."""

NORM_GROUPS = 32


class FeaturePyramid(nn.Module):
    """The feature pyramid network (Lin et al., CVPR 2017) on the backbone's stages.

    Args:
        stages: the backbone's.
        channels: of every level.
    """

    def __init__(self, stages: Mapping[str, Stage], channels: int) -> None:
        super().__init__()
        widths = [stages[name].channels for name in STAGES]
        self.network = FeaturePyramidNetwork(widths, channels, extra_blocks=LastLevelMaxPool())

    def forward(self, stages: Mapping[str, Float[Tensor, "b _ _ _"]]) -> dict[str, Float[Tensor, "b c _ _"]]:
        """The levels `p2` to `p6`, strides 4 to 64."""
        return dict(zip((*LEVELS, "p6"), self.network(dict(stages)).values(), strict=True))


class SemanticBranch(nn.Module):
    """Each level brought to stride 4 by convolutions and doublings, and their sum (Sec. 3.1, Fig. 3).

    Args:
        in_channels: of the pyramid.
        channels: of the sum.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.levels = nn.ModuleDict(
            {name: _upsampling(in_channels, channels, doublings) for doublings, name in enumerate(LEVELS)}
        )

    def forward(self, pyramid: Mapping[str, Float[Tensor, "b c _ _"]]) -> Float[Tensor, "b s h w"]:
        """The branch's features, stride 4."""
        total = self.levels["p2"](pyramid["p2"])
        for name in LEVELS[1:]:
            total = total + self.levels[name](pyramid[name])
        return total


def _upsampling(in_channels: int, channels: int, doublings: int) -> nn.Sequential:
    """A 3×3 convolution with norm and activation before each doubling; one alone where there is none."""
    layers: list[nn.Module] = []
    for index in range(max(doublings, 1)):
        layers.append(
            Conv2dNormActivation(
                in_channels if index == 0 else channels, channels, 3, norm_layer=partial(nn.GroupNorm, NORM_GROUPS)
            )
        )
        if doublings:
            layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
    return nn.Sequential(*layers)


def relate_pyramid(
    pyramid: Mapping[str, Float[Tensor, "b c _ _"]], relational: Float[Tensor, "b c h w"]
) -> dict[str, Float[Tensor, "b c _ _"]]:
    """The pyramid for the final stage: `relational` in place of p2, and what it changed there in the coarser levels.

    Large boxes are read from the coarser levels, and would not see the relation otherwise. Its change is added
    there as its mean over each cell, without further weights, so that an unchanged p2 leaves all levels as they are.

    Args:
        pyramid: the initial stage's.
        relational: F_pan's share for boxes and masks, stride 4.
    """
    change = relational - pyramid["p2"]
    coarser = {
        name: maps + F.adaptive_avg_pool2d(change, (maps.shape[2], maps.shape[3]))
        for name, maps in pyramid.items()
        if name != "p2"
    }
    return {"p2": relational, **coarser}
