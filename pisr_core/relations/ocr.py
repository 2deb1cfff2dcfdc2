"""Object-contextual representations (Yuan et al., ECCV 2020), the paper's strong baseline."""

from __future__ import annotations

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from pisr_core.relations.base import Relation
from pisr_core.structures import SemanticPrediction

_conv1x1 = partial(Conv2dNormActivation, kernel_size=1)


class OCR(Relation):
    """Each cell attends to the classes' regions; instances cannot be used (Sec. 4.5).

    Args:
        channels: c of the features.
        key_channels: width of queries, keys and values.
        out_channels: of the result, c unless given.
        dropout: probability of dropping one of its channels' values in training.
    """

    uses_instances = False

    def __init__(
        self, channels: int, key_channels: int, out_channels: int | None = None, dropout: float = 0.05
    ) -> None:
        super().__init__()
        self.query = nn.Sequential(_conv1x1(channels, key_channels), _conv1x1(key_channels, key_channels))
        self.key = nn.Sequential(_conv1x1(channels, key_channels), _conv1x1(key_channels, key_channels))
        self.value = _conv1x1(channels, key_channels)
        self.context = _conv1x1(key_channels, channels)
        self.fuse = nn.Sequential(_conv1x1(2 * channels, out_channels or channels), nn.Dropout2d(dropout))

    def forward(
        self,
        features: Float[Tensor, "b c h w"],
        semantic: SemanticPrediction,
        instances: Float[Tensor, "b k h w"],
    ) -> Float[Tensor, "b o h w"]:
        """The features joined with each cell's mixture of the region representations (OCR, Eqs. 2 to 4)."""
        regions = self.regions(features, semantic.logits)
        query = self.query(features).flatten(2).transpose(1, 2)
        key = self.key(regions).flatten(2)
        value = self.value(regions).flatten(2).transpose(1, 2)
        relation = (query @ key * key.shape[1] ** -0.5).softmax(dim=2)
        context = (relation @ value).transpose(1, 2).unflatten(2, features.shape[-2:])
        return self.fuse(torch.cat((self.context(context), features), dim=1))

    @staticmethod
    def regions(features: Float[Tensor, "b c h w"], logits: Float[Tensor, "b n h w"]) -> Float[Tensor, "b c n 1"]:
        """The representation of each class: the features' mean, weighted by a softmax over the cells (Eq. 1)."""
        weights = logits.flatten(2).softmax(dim=2)
        return (features.flatten(2) @ weights.transpose(1, 2)).unsqueeze(3)
