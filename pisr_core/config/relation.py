"""Settings of the relation and of what is learnt from it: Eq. 1, targets, merging."""

from __future__ import annotations

from dataclasses import dataclass

from pisr_core.config.checks import check, check_choice, check_counts


@dataclass(frozen=True)
class RelationConfig:
    """The relation between first and final predictions (Sec. 3, Table 5).

    Attributes:
        name: `none` (the base, no second heads), `heads` (second heads on F itself, the control of deep
            supervision), `concat`, `product`, `ocr` or `pisr`.
        channels: d, the width inside the relation.
        top_k: K, the number of instances.
        reweight: learn ω (Sec. 3.3).
        normalization: of the encodings: `mass` (a map's mean, with a floor of one cell) or `area`.
        encoding_norm: LayerNorm on the encodings.
        presence: the mass, cells, with which an encoding keeps half of its size; 0 leaves all as they are.
        feature_norm: batch norm on F_pan, which keeps training steady at the base's learning rates.
        residual: add the relation's features to F instead of replacing it.
        fused: multiply the attention in the order that never builds the (n+k)×h×w map.
        kernel: side of h's kernel: 3 as in the paper; 1 costs a ninth.
        encoding_stride: encodings are gathered from every so-manieth cell of each row and column.
        final_heads: what the final stage predicts anew: `all`, or `semantic`, which keeps the first centres and offsets
            (Panoptic-DeepLab and UPerNet).
        instance_radius: C of footnote 2, in stride-4 cells.
        thing_mask: `binary` (literal) or `probability`: what suppresses the background in I.
        detach: no gradient from the relation through S and I.
    """

    name: str = "pisr"
    channels: int = 192
    top_k: int = 200
    reweight: bool = True
    normalization: str = "mass"
    encoding_norm: bool = True
    presence: float = 0.0
    feature_norm: bool = True
    residual: bool = True
    fused: bool = True
    kernel: int = 3
    encoding_stride: int = 1
    final_heads: str = "all"
    instance_radius: float = 8.0
    thing_mask: str = "binary"
    detach: bool = False

    def __post_init__(self) -> None:
        check_choice("relation.name", self.name, ("none", "heads", "concat", "product", "ocr", "pisr"))
        check_choice("relation.normalization", self.normalization, ("mass", "area"))
        check_choice("relation.thing_mask", self.thing_mask, ("binary", "probability"))
        check_choice("relation.final_heads", self.final_heads, ("all", "semantic"))
        check_counts(self, "relation", ("channels", "encoding_stride"))
        check(self.kernel in (1, 3), "relation.kernel", self.kernel, "1 or 3")
        check_counts(self, "relation", ("top_k",), least=0)
        check(self.presence >= 0, "relation.presence", self.presence, "0 or above")
        check(self.instance_radius > 0, "relation.instance_radius", self.instance_radius, "above 0")


@dataclass(frozen=True)
class LossConfig:
    """Eq. 1 and the base's losses.

    Attributes:
        gamma: γ, the weight of the first predictions' losses.
        semantic: weight of the cross entropy.
        center: weight of the centre heatmap's squared error.
        offset: weight of the offsets' absolute error in pixels.
        hard_pixel_share: share of the hardest pixels that the cross entropy averages over.
    """

    gamma: float = 0.5
    semantic: float = 1.0
    center: float = 200.0
    offset: float = 0.01
    hard_pixel_share: float = 0.2

    def __post_init__(self) -> None:
        check(self.gamma > 0, "loss.gamma", self.gamma, "above 0, for the centre heatmap learns from it alone")
        check(0 < self.hard_pixel_share <= 1, "loss.hard_pixel_share", self.hard_pixel_share, "within (0, 1]")


@dataclass(frozen=True)
class TargetConfig:
    """How annotations become targets.

    Attributes:
        sigma: standard deviation of a centre's Gaussian, pixels of the crop.
        small_instance_area: instances below this many pixels …
        small_instance_weight: … count this much in the semantic loss.
        ignore_stuff_in_offset: leave stuff out of the offset loss.
        ignore_crowd_in_semantic: leave crowd regions out of the semantic loss.
        ignore_crowd_in_instances: leave them out of the centre and offset losses, as the public code does. Then their
            pixels point anywhere and can swallow a small instance; learnt as one instance, they keep to themselves.
    """

    sigma: float = 8.0
    small_instance_area: int = 4096
    small_instance_weight: float = 3.0
    ignore_stuff_in_offset: bool = True
    ignore_crowd_in_semantic: bool = False
    ignore_crowd_in_instances: bool = True

    def __post_init__(self) -> None:
        check(self.sigma > 0, "targets.sigma", self.sigma, "above 0")


@dataclass(frozen=True)
class MergeConfig:
    """How predictions become a panoptic map.

    Attributes:
        center_threshold: peaks of the centre heatmap below it are no instances.
        nms_kernel: window in pixels within which a centre is the highest; odd.
        top_k: the most instances kept.
        stuff_area: stuff below this share of the image becomes void.
    """

    center_threshold: float = 0.1
    nms_kernel: int = 7
    top_k: int = 200
    stuff_area: float = 0.001

    def __post_init__(self) -> None:
        check_counts(self, "merge", ("top_k", "nms_kernel"))
        check(self.nms_kernel % 2 == 1, "merge.nms_kernel", self.nms_kernel, "an odd number of pixels")
        check(0 <= self.stuff_area < 1, "merge.stuff_area", self.stuff_area, "a share within [0, 1)")
