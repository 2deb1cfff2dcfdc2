"""Settings of the backbones and of each base architecture."""

from __future__ import annotations

from dataclasses import dataclass

from pisr_core.config.checks import check, check_counts


@dataclass(frozen=True)
class BackboneConfig:
    """The feature extractor.

    Attributes:
        name: a name of `pisr_core.backbones.BACKBONES` (timm's names).
        pretrained: start from timm's ImageNet weights (downloaded once).
        output_stride: of the deepest stage, in pixels.
        multi_grid: factors on the dilation of a ResNet's deepest stage's blocks; empty for none.
        frozen_norms: batch norms keep the pretrained statistics and scales.
        frozen_stages: how many of a ResNet's stages are not trained, the stem being the first; 0 to 4.
    """

    name: str = "resnet50s"
    pretrained: bool = True
    output_stride: int = 16
    multi_grid: tuple[int, ...] = (1, 2, 4)
    frozen_norms: bool = False
    frozen_stages: int = 0

    def __post_init__(self) -> None:
        check(self.output_stride in (8, 16, 32), "backbone.output_stride", self.output_stride, "8, 16 or 32")
        check(0 <= self.frozen_stages <= 4, "backbone.frozen_stages", self.frozen_stages, "0 to 4")


@dataclass(frozen=True)
class BranchConfig:
    """One decoder of Panoptic-DeepLab and its head.

    Attributes:
        channels: width of the decoder, and so of its share of F.
        project_channels: widths to which the features of strides 4, 8 (and 16) are reduced; one for each stage
            that the decoder takes beside the deepest.
        head_channels: width before the predictor.
    """

    channels: int = 256
    project_channels: tuple[int, ...] = (32, 64)
    head_channels: int = 256

    def __post_init__(self) -> None:
        check_counts(self, "deeplab.…", ("channels", "project_channels", "head_channels"))
        widths = self.project_channels
        check(1 <= len(widths) <= 3, "deeplab.….project_channels", widths, "one to three widths, from stride 4 on")


@dataclass(frozen=True)
class DeepLabConfig:
    """Panoptic-DeepLab's decoders and heads.

    Attributes:
        semantic: the semantic branch.
        instance: the instance branch (centres and offsets).
        aspp_channels: width of the atrous spatial pyramid pooling.
        aspp_dilations: its three dilations, in cells of the deepest stage.
        aspp_dropout: probability of dropping a value after it.
        pool_window: (height, width) in pixels of the image that its pooling sees, the training crop of the
            public model; empty for the whole image.
        pad_to: images are padded to a multiple of this many pixels, 0 for the output stride.
        depthwise_separable: 5×5 depthwise-separable convolutions in place of pairs of 3×3.
    """

    semantic: BranchConfig = BranchConfig()
    instance: BranchConfig = BranchConfig(channels=128, head_channels=32)
    aspp_channels: int = 256
    aspp_dilations: tuple[int, int, int] = (6, 12, 18)
    aspp_dropout: float = 0.1
    pool_window: tuple[int, ...] = ()
    pad_to: int = 0
    depthwise_separable: bool = True

    def __post_init__(self) -> None:
        check_counts(self, "deeplab", ("aspp_channels", "aspp_dilations", "pool_window"))
        check_counts(self, "deeplab", ("pad_to",), least=0)
        check(len(self.pool_window) in (0, 2), "deeplab.pool_window", self.pool_window, "[] or [height, width]")
        check(0 <= self.aspp_dropout < 1, "deeplab.aspp_dropout", self.aspp_dropout, "within [0, 1)")


@dataclass(frozen=True)
class UPerNetConfig:
    """UPerNet's decoder, and the heads that make it panoptic.

    Attributes:
        channels: width of the pyramid and of F.
        pool_scales: cells a side of the pooled maps of the deepest stage.
        semantic_head_channels: width before the semantic predictor.
        instance_head_channels: width before the predictors of centres and offsets.
        depthwise_separable: 5×5 depthwise-separable convolutions in the heads in place of pairs of 3×3.
    """

    channels: int = 512
    pool_scales: tuple[int, ...] = (1, 2, 3, 6)
    semantic_head_channels: int = 256
    instance_head_channels: int = 32
    depthwise_separable: bool = True

    def __post_init__(self) -> None:
        names = ("channels", "pool_scales", "semantic_head_channels", "instance_head_channels")
        check_counts(self, "upernet", names)


@dataclass(frozen=True)
class MaskFormerConfig:
    """MaskFormer's decoders, losses and merging; the defaults are those of the public panoptic models.

    Attributes:
        channels: width of the pixel decoder, a multiple of 32.
        mask_channels: width of F, the mask features.
        encoder_layers: transformer layers of the pixel decoder; 0 for a plain feature pyramid.
        query_channels: width of the transformer decoder.
        decoder_layers: its layers, each of which is supervised.
        queries: their number, the most segments that an image can have.
        heads: of all attentions.
        feedforward: hidden width of the transformer layers.
        dropout: probability within the transformer layers.
        input_projection: project the features that the queries attend to even where the widths agree.
        class_weight: of the cross entropy, in loss and matching.
        mask_weight: of the focal loss, in loss and matching.
        dice_weight: of the Dice loss, in loss and matching.
        no_object_weight: of queries without a target in the cross entropy.
        object_mask_threshold: queries whose class is less probable are left out of the panoptic map.
        overlap_threshold: a query that keeps less than this share of its mask is left out too.
    """

    channels: int = 256
    mask_channels: int = 256
    encoder_layers: int = 6
    query_channels: int = 256
    decoder_layers: int = 6
    queries: int = 100
    heads: int = 8
    feedforward: int = 2048
    dropout: float = 0.1
    input_projection: bool = False
    class_weight: float = 1.0
    mask_weight: float = 20.0
    dice_weight: float = 1.0
    no_object_weight: float = 0.1
    object_mask_threshold: float = 0.8
    overlap_threshold: float = 0.8

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
class FPNConfig:
    """Panoptic FPN: the pyramid, Mask R-CNN's heads, the semantic branch and the merging.

    Attributes:
        channels: width of the pyramid.
        semantic_channels: width of the semantic branch, a multiple of the 32 groups of its norms.
        box_channels: width of the box head.
        mask_channels: width of the mask head.
        anchor_sizes: sides in pixels of the square anchors of strides 4, 8, 16, 32 and 64.
        anchor_samples: anchors an image that the proposals' losses read.
        proposals: the most proposals of an image.
        box_samples: proposals an image that the losses of boxes and masks read.
        detections: the most detections of an image.
        detection_threshold: lowest score of a detection.
        merge_threshold: lowest score of an instance in the panoptic map.
        merge_overlap: an instance of which better ones hide a larger share is left out of the map.
    """

    channels: int = 256
    semantic_channels: int = 128
    box_channels: int = 1024
    mask_channels: int = 256
    anchor_sizes: tuple[int, ...] = (32, 64, 128, 256, 512)
    anchor_samples: int = 256
    proposals: int = 1000
    box_samples: int = 512
    detections: int = 100
    detection_threshold: float = 0.05
    merge_threshold: float = 0.5
    merge_overlap: float = 0.5

    def __post_init__(self) -> None:
        check_counts(self, "fpn", ("channels", "semantic_channels", "box_channels", "mask_channels", "anchor_sizes"))
        samples = ("anchor_samples", "proposals", "box_samples", "detections")
        check_counts(self, "fpn", samples, most=100_000)
        check(
            self.semantic_channels % 32 == 0, "fpn.semantic_channels", self.semantic_channels, "a multiple of 32 groups"
        )
        check(len(self.anchor_sizes) == 5, "fpn.anchor_sizes", list(self.anchor_sizes), "five sizes, one a level")
        check(0 <= self.merge_overlap < 1, "fpn.merge_overlap", self.merge_overlap, "a share within [0, 1)")
