"""Reweighting of the panoptic encodings (Sec. 3.3, Fig. 3b)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Reweighting(nn.Module):
    """ω: a two-layer fully connected network with a sigmoid that scores each panoptic category by itself.

    Beside the encoding it reads the logarithm of the map's mass, for a mean feature does not tell a class that
    fills the image from one that is absent. The score is divided by √hidden before the sigmoid, which at the rates of
    the rest of a network was otherwise found saturated (docs/results.md).

    Args:
        channels: c.
        hidden: width of its hidden layer.
    """

    def __init__(self, channels: int, hidden: int = 64) -> None:
        super().__init__()
        self.scale = hidden**-0.5
        self.layers = nn.Sequential(nn.Linear(channels + 1, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, 1))

    def forward(self, encodings: Float[Tensor, "b m c"], mass: Float[Tensor, "b m"]) -> Float[Tensor, "b m 1"]:
        """The weight ω in (0, 1) of each category.

        Args:
            encodings: E_pan.
            mass: of each category's map, cells.
        """
        scores = self.layers(torch.cat((encodings, mass.log1p().unsqueeze(2)), dim=2))
        return (scores * self.scale).sigmoid()
