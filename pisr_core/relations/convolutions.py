"""As many layers as PISR has, without categories: the control that separates a relation's gain from that of depth."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from pisr_core.relations.base import Relation
from pisr_core.structures import SemanticPrediction


class Convolutions(Relation):
    """PISR's F_pan = A h(F) with a learned matrix A, the same for all images, in place of one of their categories.

    As PISR's, the norm's scale starts at zero unless `start` says otherwise.

    Args:
        channels: c.
        inner_channels: d.
        kernel: side of h's kernel, cells.
        start: the norm's scale at first.
    """

    uses_instances = False

    def __init__(self, channels: int, inner_channels: int, kernel: int = 3, start: float = 0.0) -> None:
        super().__init__()
        self.h = Conv2dNormActivation(channels, inner_channels, kernel_size=kernel)
        self.back = nn.Conv2d(inner_channels, channels, kernel_size=1, bias=False)
        self.feature_norm = nn.BatchNorm2d(channels)
        nn.init.constant_(self.feature_norm.weight, start)

    def forward(
        self,
        features: Float[Tensor, "b c h w"],
        semantic: SemanticPrediction,
        instances: Float[Tensor, "b k _ _"],
    ) -> Float[Tensor, "b c h w"]:
        """F and what two layers make of it; S and I are not read."""
        out: Tensor = features + self.feature_norm(self.back(self.h(features)))
        return out
