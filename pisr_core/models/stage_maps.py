"""What a prediction stage says of an image, in the same terms for every architecture."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

NO_CLASS = -1
"""Class of an instance whose map is empty."""


@dataclass(frozen=True)
class StageMaps:
    """One stage's predictions for one image, on the stride-4 grid.

    Attributes:
        classes: how sure the stage is of each class at each cell, in [0, 1].
        instances: I, the most confident first.
        instance_classes: position of each instance's class, or `NO_CLASS`.
        instance_scores: their confidence, in [0, 1].
        center_heatmap: M, `None` for architectures without centres.
        peaks: (y, x) cell of each instance's centre, `None` for architectures without.
    """

    classes: Float[Tensor, "n h w"]
    instances: Float[Tensor, "k h w"]
    instance_classes: Int[Tensor, " k"]
    instance_scores: Float[Tensor, " k"]
    center_heatmap: Float[Tensor, "h w"] | None = None
    peaks: Int[Tensor, "k 2"] | None = None

    def instances_of(self, category: int) -> list[int]:
        """Rows of the instances of a class, the most confident first."""
        return (self.instance_classes == category).nonzero().flatten().tolist()
