"""Settings of the feature extractor."""

from __future__ import annotations

from dataclasses import dataclass

from pisr_core.config.checks import check


@dataclass(frozen=True)
class BackboneConfig:
    """The feature extractor."""

    name: str = "resnet50s"
    """As timm calls it, `model` or `model.tag` for other weights of it than the usual ones."""
    pretrained: bool = True
    """Start from timm's weights (downloaded once)."""
    output_stride: int = 16
    """Of the deepest stage, in pixels."""
    multi_grid: tuple[int, ...] = (1, 2, 4)
    """Factors on the dilation of a ResNet's deepest stage's blocks; empty for none."""
    frozen_norms: bool = False
    """Batch norms keep the pretrained statistics and scales."""
    frozen_stages: int = 0
    """How many of a ResNet's stages are not trained, the stem being the first; 0 to 4."""
    weights: str = ""
    """A file to start from in place of timm's weights, in any form that timm reads."""

    def __post_init__(self) -> None:
        check(self.output_stride in (8, 16, 32), "backbone.output_stride", self.output_stride, "8, 16 or 32")
        check(0 <= self.frozen_stages <= 4, "backbone.frozen_stages", self.frozen_stages, "0 to 4")
