"""Table 5's concatenation of F, S and I."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pisr_core.class_axes import ClassAxes, ClassAxis
from pisr_core.relations.base import Relation, pad_instances
from pisr_core.structures import SemanticPrediction


class Concatenation(Relation):
    """F, S and I stacked (Sec. 4.5). A 1×1 convolution, the identity on F at first, restores F's channel layout.

    Since it is linear and the final heads begin with a convolution, they see the stack as if they read it directly.

    Args:
        channels: c.
        num_classes: n.
        top_k: K.
    """

    def __init__(self, channels: int, num_classes: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.project = nn.Conv2d(channels + num_classes + top_k, channels, kernel_size=1, bias=False)
        nn.init.dirac_(self.project.weight)

    def forward(
        self,
        features: Float[Tensor, "b c h w"],
        semantic: SemanticPrediction,
        instances: Float[Tensor, "b k h w"],
    ) -> Float[Tensor, "b c h w"]:
        """The stack of F, S and I in F's channel layout."""
        maps = pad_instances(instances, self.top_k)
        return self.project(torch.cat((features, semantic.probabilities, maps), dim=1))

    def class_axes(self, classes: Sequence[str], first: int = 0) -> ClassAxes:
        """Those of the stack, in which F comes first."""
        return {"project.weight": (ClassAxis(1, tuple(classes), self.project.out_channels + first),)}
