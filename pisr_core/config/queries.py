"""Settings of the models that find instances by queries."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pisr_core.config.checks import check, check_choice, check_counts


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


@dataclass(frozen=True)
class TransformersConfig:
    """A network of `transformers`, and what its image processor and its post-processing do."""

    network: dict[str, Any] = field(default_factory=dict)
    """The network's own settings, as a `config.json` of the hub has them; what is left out keeps the class's default.
    "none" stands for null, which TOML lacks."""
    pixel_mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    """Subtracted from RGB values in 0–255."""
    pixel_std: tuple[float, float, float] = (58.395, 57.12, 57.375)
    """What they are then divided by."""
    object_mask_threshold: float = 0.8
    """Queries whose class is less probable are left out of the panoptic map."""
    overlap_threshold: float = 0.8
    """A query that keeps less than this share of its mask is left out too."""
    enlarge: str = "logits"
    """What of the masks is brought to the image's size: `logits`, over the size that the network sees, as the networks'
    authors do; `direct`, the logits at once, as `transformers` does for VidEoMT; or `probabilities`, as it does for
    Mask2Former and MaskFormer."""
    mask_grid: tuple[int, ...] = ()
    """(height, width) that the masks have in between, with `probabilities`; empty for none."""
    annealing: tuple[tuple[float, float], ...] = ()
    """Of EoMT's last blocks each, the shares of the run at which its masked attention begins to fade and has gone;
    empty for none."""
    masked_attention: tuple[float, ...] = ()
    """Of EoMT's last blocks each, the probability that a query's attention is masked at evaluation; empty for none,
    which is how a trained EoMT is used."""

    def __post_init__(self) -> None:
        check_choice("transformers.enlarge", self.enlarge, ("logits", "direct", "probabilities"))
        check(min(self.pixel_std) > 0, "transformers.pixel_std", self.pixel_std, "above 0")
        check_counts(self, "transformers", ("mask_grid",))
        check(len(self.mask_grid) in (0, 2), "transformers.mask_grid", self.mask_grid, "[] or [height, width]")
        for first, last in self.annealing:
            check(0 <= first <= last <= 1, "transformers.annealing", [first, last], "shares, 0 <= first <= last <= 1")
