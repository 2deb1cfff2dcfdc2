"""Attention of categories to one another, which each cell takes from those that it belongs to."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

SHARPNESS = 4.0
"""How much larger than usual the weights of h and g_s begin."""


class CategoryAttention(nn.Module):
    """Every class and instance attends to the others, and each cell takes what its own categories have found.

    In the paper's attention a cell asks with its own features, and what answers may well be its own instance, of which
    F knows all. Here an instance asks with its encoding, the mean of its cells, and asks the others only, and what it
    gets from them is compared with itself, channel by channel:

        R = softmax(g_s(Ẽ) h(Ẽ)ᵀ), a row for each that asks, without the diagonal
        F_pan = g_q(g_c(Ẽ) ⊙ g_c(R Ẽ))ᵀ A, and F_sp = Rᵀ A,

    where A says which categories a cell belongs to. Comparisons (is there another like this?) are learned from fewer
    images so (docs/results.md). An absent category, whose encoding is zero, does not answer.

    g_s begins as h, and both large, so that each category asks for its like from the first step; from unrelated weights
    it took luck to find the question (docs/results.md).

    Args:
        channels: c.
        inner_channels: d.
    """

    def __init__(self, channels: int, inner_channels: int) -> None:
        super().__init__()
        self.h = nn.Linear(channels, inner_channels, bias=False)
        self.g_s = nn.Linear(channels, inner_channels, bias=False)
        self.g_c = nn.Linear(channels, channels, bias=False)
        self.g_q = nn.Linear(channels, channels, bias=False)
        self.h.weight.data.mul_(SHARPNESS)
        self.g_s.weight.data.copy_(self.h.weight.data)

    def forward(
        self, encodings: Float[Tensor, "b m c"], memberships: Float[Tensor, "b m h w"]
    ) -> Float[Tensor, "b c h w"]:
        """F_pan from Ẽ and A, see `memberships`."""
        taken = self.shares(encodings).transpose(1, 2) @ encodings
        found = self.g_q(self.g_c(encodings) * self.g_c(taken))
        return torch.einsum("bmc,bmhw->bchw", found, memberships)

    def spatial_panoptic_features(
        self, encodings: Float[Tensor, "b m c"], memberships: Float[Tensor, "b m h w"]
    ) -> Float[Tensor, "b m h w"]:
        """F_sp: the shares of the categories that each cell's own attend to."""
        return torch.einsum("bmi,bihw->bmhw", self.shares(encodings), memberships)

    def shares(self, encodings: Float[Tensor, "b m c"]) -> Float[Tensor, "b m m"]:
        """How much of each category (rows) each one takes (columns), from Ẽ."""
        asked = self.h(encodings).relu() * self.h.out_features**-0.5
        scores = self.g_s(encodings) @ asked.transpose(1, 2)
        itself = torch.eye(encodings.shape[1], dtype=torch.bool, device=encodings.device)
        out = itself | ~encodings.any(dim=2, keepdim=True)
        # Not infinite: where nobody else is there, all shares would be undefined.
        return scores.masked_fill(out, torch.finfo(scores.dtype).min).softmax(dim=1)


def memberships(
    probabilities: Float[Tensor, "b n h w"], instances: Float[Tensor, "b k h w"]
) -> Float[Tensor, "b m h w"]:
    """A: how much of each cell belongs to each category, n + k maps whose sum is 1.

    What lies in several instances' maps is divided between them; what no instance claims belongs to the classes.
    """
    own = instances / instances.sum(dim=1, keepdim=True).clamp(min=1)
    rest = 1 - own.sum(dim=1, keepdim=True)
    return torch.cat((probabilities * rest, own), dim=1)
