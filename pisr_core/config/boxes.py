"""Settings of the models that find instances by boxes."""

from __future__ import annotations

from dataclasses import dataclass

from pisr_core.config.checks import check, check_counts


@dataclass(frozen=True)
class FPNConfig:
    """Panoptic FPN: the pyramid, Mask R-CNN's heads, the semantic branch and the merging."""

    channels: int = 256
    """Width of the pyramid."""
    semantic_channels: int = 128
    """Width of the semantic branch, a multiple of the 32 groups of its norms."""
    box_channels: int = 1024
    """Width of the box head."""
    mask_channels: int = 256
    """Width of the mask head."""
    anchor_sizes: tuple[int, ...] = (32, 64, 128, 256, 512)
    """Sides in pixels of the square anchors of strides 4, 8, 16, 32 and 64."""
    anchor_samples: int = 256
    """Anchors an image that the proposals' losses read."""
    proposals: int = 1000
    """The most proposals of an image."""
    box_samples: int = 512
    """Proposals an image that the losses of boxes and masks read."""
    detections: int = 100
    """The most detections of an image."""
    detection_threshold: float = 0.05
    """Lowest score of a detection."""
    merge_threshold: float = 0.5
    """Lowest score of an instance in the panoptic map."""
    merge_overlap: float = 0.5
    """An instance of which better ones hide a larger share is left out of the map."""

    def __post_init__(self) -> None:
        check_counts(self, "fpn", ("channels", "semantic_channels", "box_channels", "mask_channels", "anchor_sizes"))
        samples = ("anchor_samples", "proposals", "box_samples", "detections")
        check_counts(self, "fpn", samples, most=100_000)
        check(
            self.semantic_channels % 32 == 0, "fpn.semantic_channels", self.semantic_channels, "a multiple of 32 groups"
        )
        check(len(self.anchor_sizes) == 5, "fpn.anchor_sizes", list(self.anchor_sizes), "five sizes, one a level")
        check(0 <= self.merge_overlap < 1, "fpn.merge_overlap", self.merge_overlap, "a share within [0, 1)")
