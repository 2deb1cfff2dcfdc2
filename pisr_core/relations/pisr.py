"""PISR: Panoptic, Instance and Semantic Relations (Sec. 3, Fig. 2 right and Fig. 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pisr_core.class_axes import ClassAxes, ClassAxis
from pisr_core.config import PISRConfig
from pisr_core.relations.attention import PanopticRelationalAttention
from pisr_core.relations.base import Relation, check_top_k
from pisr_core.relations.category_attention import CategoryAttention, memberships
from pisr_core.relations.encodings import panoptic_encodings
from pisr_core.relations.reweighting import Reweighting
from pisr_core.structures import SemanticPrediction

DEFAULTS = PISRConfig()


class PISR(Relation):
    """The paper's module: encode every class and instance, weigh them, attend over them.

    It can stand in any network that has features, a first semantic prediction and first instance maps on one grid:
    `PISR(channels, num_classes)(features, SemanticPrediction.from_logits(logits), instances)`.

    Args:
        channels: c of F.
        num_classes: n.
        config: its settings.
    """

    def __init__(self, channels: int, num_classes: int, config: PISRConfig = DEFAULTS) -> None:
        super().__init__()
        self.config = config
        self.encoding_stride = config.encoding_stride
        self.encoding_norm = nn.LayerNorm(channels, bias=False) if config.encoding_norm else nn.Identity()
        # Before the reweighting, so that a seed gives the same attention with and without it.
        self.attention: PanopticRelationalAttention | CategoryAttention = (
            CategoryAttention(channels, config.channels)
            if config.attention == "categories"
            else PanopticRelationalAttention(
                channels,
                num_classes + config.top_k,
                config.channels,
                config.fused,
                config.kernel,
                config.attention == "softmax",
            )
        )
        self.reweighting = Reweighting(channels, confidence=config.confidence) if config.reweight else None
        self.feature_norm: nn.Module = nn.BatchNorm2d(channels) if config.feature_norm else nn.Identity()
        if config.residual:
            start = self.feature_norm if config.feature_norm else self.attention.g_q
            start.weight.data.mul_(config.start)  # type: ignore[operator]

    def forward(
        self,
        features: Float[Tensor, "b c h w"],
        semantic: SemanticPrediction,
        instances: Float[Tensor, "b k _ _"],
    ) -> Float[Tensor, "b c h w"]:
        """F_pan (plus F) from F, S and I.

        Raises:
            ConfigError: there are more instances than `config.top_k`.
        """
        encodings, _ = self.weighted_encodings(features, semantic, instances)
        relational = self.feature_norm(self.attention(encodings, self._asking(features, semantic, instances)))
        return features + relational if self.config.residual else relational

    def weighted_encodings(
        self,
        features: Float[Tensor, "b c h w"],
        semantic: SemanticPrediction,
        instances: Float[Tensor, "b k _ _"],
    ) -> tuple[Float[Tensor, "b m c"], Float[Tensor, "b m"] | None]:
        """Ẽ_pan, m = n + k rows with the classes first, and ω (`None` without reweighting)."""
        encodings, mass, confidence = self._read(features, semantic, instances)
        if self.reweighting is None:
            return encodings, None
        weights = self.reweighting(encodings, mass, confidence)
        return encodings * weights.unsqueeze(2), weights

    def spatial_panoptic_features(
        self,
        features: Float[Tensor, "b c h w"],
        semantic: SemanticPrediction,
        instances: Float[Tensor, "b k _ _"],
    ) -> Float[Tensor, "b m h w"]:
        """F_sp: how strongly each cell answers to each category."""
        encodings, _ = self.weighted_encodings(features, semantic, instances)
        return self.attention.spatial_panoptic_features(encodings, self._asking(features, semantic, instances))

    def _asking(
        self, features: Float[Tensor, "b c h w"], semantic: SemanticPrediction, instances: Float[Tensor, "b k _ _"]
    ) -> Float[Tensor, "b _ h w"]:
        """What the cells attend with: F, or which categories they belong to."""
        if self.config.attention == "categories":
            return memberships(semantic.probabilities, instances)
        return features

    def taught_weights(
        self,
        features: Float[Tensor, "b c h w"],
        semantic: SemanticPrediction,
        instances: Float[Tensor, "b k _ _"],
    ) -> Float[Tensor, "b m"] | None:
        """ω, with a gradient to its own network alone; `None` without reweighting."""
        if self.reweighting is None:
            return None
        with torch.no_grad():
            read = self._read(features, semantic, instances)
        weights: Tensor = self.reweighting(*read)
        return weights

    def _read(
        self, features: Float[Tensor, "b c h w"], semantic: SemanticPrediction, instances: Float[Tensor, "b k _ _"]
    ) -> tuple[Float[Tensor, "b m c"], Float[Tensor, "b m"], Float[Tensor, "b m"] | None]:
        """What ω reads: E_pan, the masses of its maps, and their largest values if these are wanted."""
        check_top_k(instances.shape[1], self.config.top_k)
        maps, features = self._sampled(semantic.probabilities), self._sampled(features)
        if instances.shape[-2:] != maps.shape[-2:]:
            instances = self._sampled(instances)
        encodings, mass = panoptic_encodings(maps, instances, features, self.config.normalization)
        encodings = self.encoding_norm(encodings)
        if self.config.presence:
            encodings = encodings * (mass / (mass + self.config.presence)).unsqueeze(2)
        if not self.config.confidence:
            return encodings, mass, None
        return encodings, mass, torch.cat((maps.amax(dim=(2, 3)), instances.amax(dim=(2, 3))), dim=1).to(mass.dtype)

    def _sampled(self, maps: Float[Tensor, "b _ _ _"]) -> Float[Tensor, "b _ _ _"]:
        return maps[..., :: self.encoding_stride, :: self.encoding_stride]

    def class_axes(self, classes: Sequence[str], first: int = 0) -> ClassAxes:
        """What g_p mixes, where there is one."""
        if isinstance(self.attention, CategoryAttention):
            return {}
        return {"attention.g_p.weight": (ClassAxis(0, tuple(classes), first), ClassAxis(1, tuple(classes), first))}
