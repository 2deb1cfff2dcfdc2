"""Reweighting of the panoptic encodings (Sec. 3.3, Fig. 3b)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


class Reweighting(nn.Module):
    """ω: a two-layer fully connected network with a sigmoid that scores each panoptic category by itself.

    Beside the encoding it reads the logarithm of the map's mass, for a mean feature does not tell a class that
    fills the image from one that is absent. The score is divided by √hidden before the sigmoid, which at the rates of
    the rest of a network was otherwise found saturated (docs/results.md).

    Args:
        channels: c.
        hidden: width of its hidden layer.
        confidence: it reads the largest value of the category's map too.
    """

    def __init__(self, channels: int, hidden: int = 64, confidence: bool = False) -> None:
        super().__init__()
        self.scale = hidden**-0.5
        self.layers = nn.Sequential(
            nn.Linear(channels + 1 + confidence, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, 1)
        )

    def forward(
        self,
        encodings: Float[Tensor, "b m c"],
        mass: Float[Tensor, "b m"],
        confidence: Float[Tensor, "b m"] | None = None,
    ) -> Float[Tensor, "b m"]:
        """The weight ω in (0, 1) of each category.

        Args:
            encodings: E_pan.
            mass: of each category's map, cells.
            confidence: the largest value of each category's map, where it was built for that.
        """
        read = [mass.log1p()] if confidence is None else [mass.log1p(), confidence]
        scores = self.layers(torch.cat((encodings, torch.stack(read, dim=2)), dim=2))
        return (scores * self.scale).sigmoid().squeeze(2)


def reweighting_loss(
    weights: Float[Tensor, "b m"], present: Bool[Tensor, "b m"], counted: Bool[Tensor, "b m"]
) -> Float[Tensor, ""]:
    """Cross entropy of ω against what is there, present and absent categories weighing the same in the mean of each.

    Not in the paper, which leaves ω to the final predictions' losses.

    Args:
        weights: ω.
        present: the classes that an image has, and its real instances.
        counted: the categories to look at; empty instance maps are none.
    """
    ours = weights.float().clamp(1e-6, 1 - 1e-6)

    def mean(losses: Tensor, chosen: Tensor) -> Tensor:
        return (losses * chosen).sum() / chosen.sum().clamp(min=1)

    return 0.5 * (mean(-ours.log(), present & counted) + mean(-(1 - ours).log(), ~present & counted))
