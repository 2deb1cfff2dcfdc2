"""The transformer layers of DETR and MaskFormer: norms after each block, positions added to queries and keys alone."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


def sine_positions(size: tuple[int, int], channels: int, device: torch.device) -> Float[Tensor, "hw c"]:
    """Sines and cosines of each cell's position (Carion et al., ECCV 2020, Sec. A.4), rows of cells one after another.

    The first half of the channels tells y, the second x, both scaled to (0, 2π].

    Args:
        size: (h, w), cells.
        channels: c, a multiple of 4.
        device: where they are needed.
    """
    y, x = (_axis_positions(length, channels // 2, device) for length in size)
    grid = torch.cat((y[:, None].expand(-1, size[1], -1), x[None].expand(size[0], -1, -1)), dim=2)
    return grid.flatten(0, 1)


def _axis_positions(length: int, channels: int, device: torch.device) -> Float[Tensor, "length c"]:
    """Pairs of sine and cosine with wavelengths that grow to 10,000 times the axis."""
    phase = torch.arange(1, length + 1, dtype=torch.float32, device=device) * (2 * math.pi / (length + 1e-6))
    pairs = torch.arange(channels // 2, dtype=torch.float32, device=device)
    angles = phase[:, None] / 10_000 ** (2 * pairs / channels)
    return torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)


class _Layer(nn.Module):
    """What encoder and decoder layers share. Parameters have the names of torch's own transformer layers."""

    def __init__(self, channels: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(channels, heads, dropout, batch_first=True)
        self.linear1 = nn.Linear(channels, feedforward)
        self.linear2 = nn.Linear(feedforward, channels)
        self.dropout = nn.Dropout(dropout)

    def _attend_to_itself(self, tokens: Tensor, positions: Tensor) -> Tensor:
        queries = tokens + positions
        return self.dropout(self.self_attn(queries, queries, tokens, need_weights=False)[0])

    def _feed_forward(self, tokens: Tensor) -> Tensor:
        return self.dropout(self.linear2(self.dropout(F.relu(self.linear1(tokens)))))


class EncoderLayer(_Layer):
    """Self-attention, then a two-layer network for each token.

    Args:
        channels: c.
        heads: of the attention.
        feedforward: hidden width of the network.
        dropout: probability, of attention weights, hidden values and both results.
    """

    def __init__(self, channels: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__(channels, heads, feedforward, dropout)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)

    def forward(self, tokens: Float[Tensor, "b t c"], positions: Float[Tensor, "t c"]) -> Float[Tensor, "b t c"]:
        """The tokens, each informed by all others."""
        tokens = self.norm1(tokens + self._attend_to_itself(tokens, positions))
        return self.norm2(tokens + self._feed_forward(tokens))


class DecoderLayer(_Layer):
    """Self-attention among the queries, attention to the image, then a two-layer network for each query.

    Args:
        channels: c.
        heads: of both attentions.
        feedforward: hidden width of the network.
        dropout: probability, of attention weights, hidden values and all results.
    """

    def __init__(self, channels: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__(channels, heads, feedforward, dropout)
        self.multihead_attn = nn.MultiheadAttention(channels, heads, dropout, batch_first=True)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))

    def forward(
        self,
        queries: Float[Tensor, "b q c"],
        query_positions: Float[Tensor, "q c"],
        memory: Float[Tensor, "b t c"],
        memory_positions: Float[Tensor, "t c"],
    ) -> Float[Tensor, "b q c"]:
        """The queries, informed by each other and by the image's tokens (memory)."""
        queries = self.norm1(queries + self._attend_to_itself(queries, query_positions))
        seen = self.multihead_attn(queries + query_positions, memory + memory_positions, memory, need_weights=False)
        queries = self.norm2(queries + self.dropout(seen[0]))
        return self.norm3(queries + self._feed_forward(queries))


def init_xavier(module: nn.Module) -> None:
    """Xavier-uniform weights in all matrices of a transformer, as DETR starts."""
    for parameter in module.parameters():
        if parameter.ndim > 1:
            nn.init.xavier_uniform_(parameter)
