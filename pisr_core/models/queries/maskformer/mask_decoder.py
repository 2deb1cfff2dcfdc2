"""MaskFormer's transformer decoder and its heads: from queries to classes and masks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pisr_core.class_axes import ClassAxes, predictor_axes
from pisr_core.config import MaskFormerConfig
from pisr_core.models.queries.maskformer.pixel_decoder import init_convolution
from pisr_core.models.queries.maskformer.transformer import DecoderLayer, init_xavier, sine_positions
from pisr_core.models.queries.structures import MaskPrediction


class TransformerDecoder(nn.Module):
    """Learned queries that look for one segment each.

    Args:
        in_channels: of the features that the queries attend to.
        config: widths, number of queries and layers.
    """

    def __init__(self, in_channels: int, config: MaskFormerConfig) -> None:
        super().__init__()
        channels = config.query_channels
        project = config.input_projection or in_channels != channels
        self.input_proj = init_convolution(nn.Conv2d(in_channels, channels, kernel_size=1)) if project else None
        self.query_embed = nn.Embedding(config.queries, channels)
        self.layers = nn.ModuleList(
            DecoderLayer(channels, config.heads, config.feedforward, config.dropout)
            for _ in range(config.decoder_layers)
        )
        self.norm = nn.LayerNorm(channels)
        init_xavier(self.layers)

    def forward(self, context: Float[Tensor, "b i h w"]) -> Float[Tensor, "l b q c"]:
        """The queries after each of the l layers; all start at zero and differ by their learned positions."""
        memory = self.input_proj(context) if self.input_proj else context
        positions = sine_positions((memory.shape[2], memory.shape[3]), memory.shape[1], memory.device)
        memory = memory.flatten(2).transpose(1, 2)
        query_positions = self.query_embed.weight
        queries = torch.zeros_like(query_positions).expand(memory.shape[0], -1, -1)
        outputs = []
        for layer in self.layers:
            queries = layer(queries, query_positions, memory, positions)
            outputs.append(self.norm(queries))
        return torch.stack(outputs)


class MaskHeads(nn.Module):
    """One prediction stage: each query's class and, by its product with the features, its mask.

    Args:
        num_classes: n; one more stands for no object.
        config: widths.
    """

    def __init__(self, num_classes: int, config: MaskFormerConfig) -> None:
        super().__init__()
        channels = config.query_channels
        self.class_embed = nn.Linear(channels, num_classes + 1)
        self.mask_embed = nn.Sequential(
            nn.Linear(channels, channels),
            nn.ReLU(inplace=True),
            nn.Linear(channels, channels),
            nn.ReLU(inplace=True),
            nn.Linear(channels, config.mask_channels),
        )

    def forward(
        self, queries: Float[Tensor, "l b q c"], features: Float[Tensor, "b m h w"]
    ) -> tuple[MaskPrediction, ...]:
        """A prediction for the queries of each layer, logits in float32 whatever the autocast type."""
        masks = torch.einsum("lbqm,bmhw->lbqhw", self.mask_embed(queries), features)
        layers = zip(self.class_embed(queries).float(), masks.float(), strict=True)
        return tuple(MaskPrediction(class_logits, mask_logits) for class_logits, mask_logits in layers)

    def class_axes(self, classes: Sequence[str]) -> ClassAxes:
        """Those of the queries' classes, behind which no object stands."""
        return predictor_axes("class_embed", classes)
