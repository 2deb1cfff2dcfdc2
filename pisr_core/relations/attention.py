"""Panoptic relational attention (Sec. 3.4, Fig. 3b)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import Conv2dNormActivation


class PanopticRelationalAttention(nn.Module):
    """Two stages of attention between the weighted encodings Ẽ and the features.

    F_sp = g_s(Ẽ)ᵀ h(F) correlates categories with cells; F_pan = g_q(Ẽ)ᵀ g_p(F_sp) returns to features. None of
    g_s, g_p and g_q has a bias, a norm or an activation: a category whose encoding is zero adds exactly nothing.
    F_sp is divided by √d, as usual in attention; a constant that the paper leaves to the weights.

    With `softmax` F_sp turns into each cell's shares of the categories that are there before g_p mixes them, as in OCR.

    Because g_p is linear, F_pan = [g_q(Ẽ)ᵀ W_p g_s(Ẽ)] h(F): a c×d matrix for each image. In that (fused) order the
    (n+k)×h×w map F_sp is never built; the numbers are the same. Shares have no such order.

    Args:
        channels: c.
        categories: n + K, the most that g_p mixes.
        inner_channels: d, the width that Fig. 8 varies.
        fused: which order to multiply in.
        kernel: side of h's kernel, cells.
        softmax: F_sp as shares.
    """

    def __init__(
        self,
        channels: int,
        categories: int,
        inner_channels: int,
        fused: bool = True,
        kernel: int = 3,
        softmax: bool = False,
    ) -> None:
        super().__init__()
        self.fused = fused and not softmax
        self.softmax = softmax
        self.h = Conv2dNormActivation(channels, inner_channels, kernel_size=kernel)
        self.g_s = nn.Linear(channels, inner_channels, bias=False)
        self.g_p = nn.Conv2d(categories, categories, kernel_size=1, bias=False)
        # Each category's map starts unmixed; random mixing learns more slowly (docs/results.md).
        nn.init.dirac_(self.g_p.weight)
        self.g_q = nn.Linear(channels, channels, bias=False)

    def forward(
        self, encodings: Float[Tensor, "b m c"], features: Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b c h w"]:
        """F_pan from Ẽ (m = n + k ≤ n + K rows) and F."""
        if not self.fused:
            m = encodings.shape[1]
            spatial = self.spatial_panoptic_features(encodings, features)
            if self.softmax:
                there = encodings.any(dim=2)[:, :, None, None]
                # Not infinite: where nothing is there, all shares would be undefined.
                spatial = spatial.where(there, spatial.new_tensor(torch.finfo(spatial.dtype).min)).softmax(dim=1)
            mixed = F.conv2d(spatial, self.g_p.weight[:m, :m])
            return torch.einsum("bmc,bmhw->bchw", self.g_q(encodings), mixed)
        return torch.einsum("bcd,bdhw->bchw", self.fused_matrix(encodings), self.h(features))

    def spatial_panoptic_features(
        self, encodings: Float[Tensor, "b m c"], features: Float[Tensor, "b c h w"]
    ) -> Float[Tensor, "b m h w"]:
        """F_sp: how strongly each cell answers to each category."""
        return torch.einsum("bmd,bdhw->bmhw", self._queries(encodings), self.h(features))

    def fused_matrix(self, encodings: Float[Tensor, "b m c"]) -> Float[Tensor, "b c d"]:
        """g_q(Ẽ)ᵀ W_p g_s(Ẽ), what an image's categories do to the features of any of its cells."""
        m = encodings.shape[1]
        return self.g_q(encodings).transpose(1, 2) @ (self.g_p.weight[:m, :m, 0, 0] @ self._queries(encodings))

    def _queries(self, encodings: Float[Tensor, "b m c"]) -> Float[Tensor, "b m d"]:
        return self.g_s(encodings) * self.g_s.out_features**-0.5
