"""Settings of the relation, and Eq. 1."""

from __future__ import annotations

from dataclasses import dataclass, field

from pisr_core.config.checks import check, check_choice, check_counts

BALANCED = "balanced"
"""What `loss.class_weights` may say in place of numbers."""


@dataclass(frozen=True, kw_only=True)
class PISRConfig:
    """The paper's module (Sec. 3); the relations beside it read `channels` and `top_k` too."""

    channels: int = 192
    """d, the width inside the relation."""
    top_k: int = 200
    """K, the most instances that it will see. Fewer are fine, as are none."""
    reweight: bool = True
    """Learn ω (Sec. 3.3); without it every category counts the same."""
    normalization: str = "mass"
    """Of the encodings: `mass` (a map's mean, with a floor of one cell) or `area`."""
    encoding_norm: bool = True
    """LayerNorm on the encodings, without bias, so that absent instances stay zero."""
    confidence: bool = False
    """ω reads the largest value of each category's map too: how sure the first prediction is of it anywhere."""
    attention: str = "linear"
    """`linear`, as in the paper; `softmax`: F_sp becomes each cell's shares of the categories, as in OCR; or
    `categories`: classes and instances attend to one another, and each cell takes what those that it belongs to get."""
    presence: float = 0.0
    """The mass, cells, with which an encoding keeps half of its size: each is multiplied by m / (m + presence), m its
    map's mass in those cells that it is gathered from, for the LayerNorm gives even those of absent classes full size;
    0 does without."""
    feature_norm: bool = True
    """Batch norm on F_pan, a product of three learned matrices: without it, at a learning rate that suits the rest of a
    network, it can outgrow F by far (docs/results.md)."""
    residual: bool = True
    """Return F + F_pan, where F_pan is zero at first (the norm's scale, or g_q without it), so that an untrained module
    changes nothing; otherwise F_pan alone, as in the paper."""
    start: float = 0.0
    """With `residual`, the scale of F_pan at first, that of `convolutions` too. At 0 nothing but the scale itself
    learns until it has grown."""
    fused: bool = True
    """Multiply the attention in the order that never builds the (n+k)×h×w map."""
    kernel: int = 3
    """Side of h's kernel, cells: 3 as in the paper; 1 costs a ninth."""
    encoding_stride: int = 1
    """Encodings are gathered from every so-manieth cell of each row and column."""

    def __post_init__(self) -> None:
        check_choice("relation.normalization", self.normalization, ("mass", "area"))
        check_counts(self, "relation", ("channels", "encoding_stride"))
        check_choice("relation.attention", self.attention, ("linear", "softmax", "categories"))
        every_cell = self.encoding_stride == 1 or self.attention != "categories"
        check(every_cell, "relation.encoding_stride", self.encoding_stride, "1 with relation.attention = 'categories'")
        check(self.start >= 0, "relation.start", self.start, "0 or above")
        check(self.kernel in (1, 3), "relation.kernel", self.kernel, "1 or 3")
        check_counts(self, "relation", ("top_k",), least=0)
        check(self.presence >= 0, "relation.presence", self.presence, "0 or above")


@dataclass(frozen=True, kw_only=True)
class RelationConfig(PISRConfig):
    """The relation between first and final predictions (Table 5), and what it reads."""

    name: str = "pisr"
    """`none` (the base, no second heads), or a name of `pisr_core.relations.RELATIONS`."""
    final_heads: str = "all"
    """What the final stage predicts anew: `all`, or `semantic`, which keeps the first centres and offsets (models that
    find instances by these)."""
    instance_radius: float = 8.0
    """C of footnote 2, in stride-4 cells."""
    thing_mask: str = "binary"
    """`binary` (literal) or `probability`: what suppresses the background in I."""
    radius_unit: str = "cells"
    """Of C: `cells`, or `extent`, the radius of a disc with as many cells as point to the centre."""
    partition: str = "none"
    """Whom a cell that lies in several instances' maps belongs to: `none`, all of them (literal); `soft`, each by its
    share; or `hard`, the one with the largest value."""
    temperature: float = 0.25
    """Of the shares of a `soft` partition: values to the power of 1 / temperature; the lower, the harder."""
    instance_score: float = 0.0
    """Instances that are less confident than this are left out; 0 leaves that to ω (Sec. 3.3)."""
    detach: bool = False
    """No gradient from the relation through S and I."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("relation.thing_mask", self.thing_mask, ("binary", "probability"))
        check_choice("relation.radius_unit", self.radius_unit, ("cells", "extent"))
        check_choice("relation.partition", self.partition, ("none", "soft", "hard"))
        check(self.temperature > 0, "relation.temperature", self.temperature, "above 0")
        check(0 <= self.instance_score < 1, "relation.instance_score", self.instance_score, "within [0, 1)")
        check_choice("relation.final_heads", self.final_heads, ("all", "semantic"))
        check(self.instance_radius > 0, "relation.instance_radius", self.instance_radius, "above 0")


@dataclass(frozen=True)
class LossConfig:
    """Eq. 1 and the base's losses."""

    gamma: float = 0.5
    """γ, the weight of the first predictions' losses."""
    semantic: float = 1.0
    """Weight of the cross entropy."""
    center: float = 200.0
    """Weight of the centre heatmap's squared error."""
    offset: float = 0.01
    """Weight of the offsets' absolute error in pixels."""
    reweighting: float = 0.0
    """Weight of the cross entropy that teaches ω which classes are in the picture and which instances are real; 0 (as
    in the paper) leaves ω to the losses of the final predictions. It reaches ω alone, not what ω reads."""
    hard_pixel_share: float = 0.2
    """Share of the hardest pixels that the cross entropy averages over."""
    class_weights: str | dict[str, float] = field(default_factory=dict)
    """Factors of classes in the cross entropy, by name, 1 for the others; or `balanced`, which finds them in the
    training images: the rarer a class, the higher."""

    def __post_init__(self) -> None:
        check(self.gamma > 0, "loss.gamma", self.gamma, "above 0, for the centre heatmap learns from it alone")
        check(self.reweighting >= 0, "loss.reweighting", self.reweighting, "0 or above")
        check(0 < self.hard_pixel_share <= 1, "loss.hard_pixel_share", self.hard_pixel_share, "within (0, 1]")
        if isinstance(self.class_weights, str):
            check_choice("loss.class_weights", self.class_weights, (BALANCED,))
        else:
            for name, weight in self.class_weights.items():
                check(weight > 0, f"loss.class_weights.{name}", weight, "above 0")
