"""Table 5's elementwise product of F with S and I."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pisr_core.class_axes import ClassAxes, ClassAxis
from pisr_core.relations.base import Relation, pad_instances
from pisr_core.structures import SemanticPrediction


class ElementwiseProduct(Relation):
    """S and I stacked, brought to F's width by a convolution, and multiplied with F (Sec. 4.5).

    The convolution starts as the constant one, so that an untrained module changes nothing.

    Args:
        channels: c.
        num_classes: n.
        top_k: K.
    """

    def __init__(self, channels: int, num_classes: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.project = nn.Conv2d(num_classes + top_k, channels, kernel_size=1)
        nn.init.zeros_(self.project.weight)
        nn.init.ones_(self.project.bias)  # type: ignore[arg-type]

    def forward(
        self,
        features: Float[Tensor, "b c h w"],
        semantic: SemanticPrediction,
        instances: Float[Tensor, "b k h w"],
    ) -> Float[Tensor, "b c h w"]:
        """The product of F and what S and I make of each cell."""
        maps = pad_instances(instances, self.top_k)
        return features * self.project(torch.cat((semantic.probabilities, maps), dim=1))

    def class_axes(self, classes: Sequence[str], first: int = 0) -> ClassAxes:
        """Those of the stack of S and I."""
        return {"project.weight": (ClassAxis(1, tuple(classes), first),)}
