"""Settings of the models that find instances by queries."""

from __future__ import annotations

from dataclasses import dataclass

from pisr_core.config.checks import check, check_counts


@dataclass(frozen=True)
class MaskFormerConfig:
    """MaskFormer's decoders, losses and merging; the defaults are those of the public panoptic models."""

    channels: int = 256
    """Width of the pixel decoder, a multiple of 32."""
    mask_channels: int = 256
    """Width of F, the mask features."""
    encoder_layers: int = 6
    """Transformer layers of the pixel decoder; 0 for a plain feature pyramid."""
    query_channels: int = 256
    """Width of the transformer decoder."""
    decoder_layers: int = 6
    """Its layers, each of which is supervised."""
    queries: int = 100
    """Their number, the most segments that an image can have."""
    heads: int = 8
    """Of all attentions."""
    feedforward: int = 2048
    """Hidden width of the transformer layers."""
    dropout: float = 0.1
    """Probability within the transformer layers."""
    input_projection: bool = False
    """Project the features that the queries attend to even where the widths agree."""
    class_weight: float = 1.0
    """Of the cross entropy, in loss and matching."""
    mask_weight: float = 20.0
    """Of the focal loss, in loss and matching."""
    dice_weight: float = 1.0
    """Of the Dice loss, in loss and matching."""
    no_object_weight: float = 0.1
    """Of queries without a target in the cross entropy."""
    object_mask_threshold: float = 0.8
    """Queries whose class is less probable are left out of the panoptic map."""
    overlap_threshold: float = 0.8
    """A query that keeps less than this share of its mask is left out too."""

    def __post_init__(self) -> None:
        check_counts(self, "maskformer", ("channels", "mask_channels", "query_channels", "queries", "heads"))
        check_counts(self, "maskformer", ("decoder_layers",), most=100)
        check_counts(self, "maskformer", ("feedforward",), most=65_536)
        check_counts(self, "maskformer", ("encoder_layers",), least=0, most=100)
        check(self.channels % 32 == 0, "maskformer.channels", self.channels, "a multiple of 32, for the group norms")
        for name in ("channels", "query_channels"):
            width = getattr(self, name)
            rule = f"a multiple of 4, for the positions, and of maskformer.heads ({self.heads})"
            check(width % 4 == 0 and width % self.heads == 0, f"maskformer.{name}", width, rule)
        check(0 <= self.dropout < 1, "maskformer.dropout", self.dropout, "within [0, 1)")
