"""Settings of the models that find instances by centres and offsets."""

from __future__ import annotations

from dataclasses import dataclass

from pisr_core.config.checks import check, check_counts


@dataclass(frozen=True)
class BranchConfig:
    """One decoder of Panoptic-DeepLab and its head."""

    channels: int = 256
    """Width of the decoder, and so of its share of F."""
    project_channels: tuple[int, ...] = (32, 64)
    """Widths to which the features of strides 4, 8 (and 16) are reduced; one for each stage that the decoder takes
    beside the deepest."""
    head_channels: int = 256
    """Width before the predictor."""

    def __post_init__(self) -> None:
        check_counts(self, "deeplab.…", ("channels", "project_channels", "head_channels"))
        widths = self.project_channels
        check(1 <= len(widths) <= 3, "deeplab.….project_channels", widths, "one to three widths, from stride 4 on")


@dataclass(frozen=True)
class DeepLabConfig:
    """Panoptic-DeepLab's decoders and heads."""

    semantic: BranchConfig = BranchConfig()
    """The semantic branch."""
    instance: BranchConfig = BranchConfig(channels=128, head_channels=32)
    """The instance branch (centres and offsets)."""
    aspp_channels: int = 256
    """Width of the atrous spatial pyramid pooling."""
    aspp_dilations: tuple[int, int, int] = (6, 12, 18)
    """Its three dilations, in cells of the deepest stage."""
    aspp_dropout: float = 0.1
    """Probability of dropping a value after it."""
    pool_window: tuple[int, ...] = ()
    """(height, width) in pixels of the image that its pooling sees, the training crop of the public model; empty for
    the whole image."""
    pad_to: int = 0
    """Images are padded to a multiple of this many pixels, 0 for the output stride."""
    depthwise_separable: bool = True
    """5×5 depthwise-separable convolutions in place of pairs of 3×3."""

    def __post_init__(self) -> None:
        check_counts(self, "deeplab", ("aspp_channels", "aspp_dilations", "pool_window"))
        check_counts(self, "deeplab", ("pad_to",), least=0)
        check(len(self.pool_window) in (0, 2), "deeplab.pool_window", self.pool_window, "[] or [height, width]")
        check(0 <= self.aspp_dropout < 1, "deeplab.aspp_dropout", self.aspp_dropout, "within [0, 1)")


@dataclass(frozen=True)
class UPerNetConfig:
    """UPerNet's decoder, and the heads that make it panoptic."""

    channels: int = 512
    """Width of the pyramid and of F."""
    pool_scales: tuple[int, ...] = (1, 2, 3, 6)
    """Cells a side of the pooled maps of the deepest stage."""
    semantic_head_channels: int = 256
    """Width before the semantic predictor."""
    instance_head_channels: int = 32
    """Width before the predictors of centres and offsets."""
    depthwise_separable: bool = True
    """5×5 depthwise-separable convolutions in the heads in place of pairs of 3×3."""

    def __post_init__(self) -> None:
        names = ("channels", "pool_scales", "semantic_head_channels", "instance_head_channels")
        check_counts(self, "upernet", names)


@dataclass(frozen=True)
class TargetConfig:
    """How annotations become targets."""

    sigma: float = 8.0
    """Standard deviation of a centre's Gaussian, pixels of the crop."""
    small_instance_area: int = 4096
    """Instances below this many pixels …"""
    small_instance_weight: float = 3.0
    """… count this much in the semantic loss."""
    ignore_stuff_in_offset: bool = True
    """Leave stuff out of the offset loss."""
    ignore_crowd_in_semantic: bool = False
    """Leave crowd regions out of the semantic loss."""
    ignore_crowd_in_instances: bool = True
    """Leave them out of the centre and offset losses, as the public code does. Then their pixels point anywhere and can
    swallow a small instance; learnt as one instance, they keep to themselves."""

    def __post_init__(self) -> None:
        check(self.sigma > 0, "targets.sigma", self.sigma, "above 0")


@dataclass(frozen=True)
class MergeConfig:
    """How predictions become a panoptic map."""

    center_threshold: float = 0.1
    """Peaks of the centre heatmap below it are no instances."""
    nms_kernel: int = 7
    """Window in pixels within which a centre is the highest; odd."""
    top_k: int = 200
    """The most instances kept."""
    stuff_area: float = 0.001
    """Stuff below this share of the image becomes void."""

    def __post_init__(self) -> None:
        check_counts(self, "merge", ("top_k", "nms_kernel"))
        check(self.nms_kernel % 2 == 1, "merge.nms_kernel", self.nms_kernel, "an odd number of pixels")
        check(0 <= self.stuff_area < 1, "merge.stuff_area", self.stuff_area, "a share within [0, 1)")
