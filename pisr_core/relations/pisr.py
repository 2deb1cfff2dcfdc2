"""PISR: Panoptic, Instance and Semantic Relations (Sec. 3, Fig. 2 right and Fig. 3)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from pisr_core.relations.attention import PanopticRelationalAttention
from pisr_core.relations.base import Relation, check_top_k
from pisr_core.relations.encodings import panoptic_encodings
from pisr_core.relations.reweighting import Reweighting
from pisr_core.structures import SemanticPrediction


class PISR(Relation):
    """The paper's module: encode every class and instance, weigh them, attend over them.

    It can stand in any network that has features, a first semantic prediction and first instance maps on one grid:
    `PISR(channels, num_classes)(features, SemanticPrediction.from_logits(logits), instances)`.

    Args:
        channels: c of F.
        num_classes: n.
        top_k: K, the most instances that it will see. Fewer are fine, as are none.
        inner_channels: d.
        reweight: learn ω (Sec. 3.3); without it every category counts the same.
        normalization: of the encodings, `mass` or `area`.
        encoding_norm: LayerNorm on the encodings, without bias, so that absent instances stay zero.
        presence: each encoding is multiplied by m / (m + presence), m its map's mass in those cells that it is
            gathered from, for the LayerNorm gives even those of absent classes full size; 0 does without.
        feature_norm: batch norm on F_pan. F_pan is a product of three learned matrices: without it, at a learning rate
            that suits the rest of a network it can outgrow F by far (docs/results.md).
        residual: return F + F_pan, where F_pan is zero at first (the norm's scale, or g_q without it), so that an
            untrained module changes nothing; otherwise F_pan alone, as in the paper.
        fused: the order of the attention's products.
        kernel: side of h's kernel, cells.
        encoding_stride: gather the encodings from every so-manieth cell of each row and column.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        top_k: int = 200,
        inner_channels: int = 192,
        reweight: bool = True,
        normalization: str = "mass",
        encoding_norm: bool = True,
        presence: float = 0.0,
        feature_norm: bool = True,
        residual: bool = True,
        fused: bool = True,
        kernel: int = 3,
        encoding_stride: int = 1,
    ) -> None:
        super().__init__()
        self.top_k = top_k
        self.normalization = normalization
        self.presence = presence
        self.residual = residual
        self.encoding_stride = encoding_stride
        self.encoding_norm = nn.LayerNorm(channels, bias=False) if encoding_norm else nn.Identity()
        # Before the reweighting, so that a seed gives the same attention with and without it.
        self.attention = PanopticRelationalAttention(channels, num_classes + top_k, inner_channels, fused, kernel)
        self.reweighting = Reweighting(channels) if reweight else None
        self.feature_norm: nn.Module = nn.BatchNorm2d(channels) if feature_norm else nn.Identity()
        if residual:
            nn.init.zeros_((self.feature_norm if feature_norm else self.attention.g_q).weight)  # type: ignore[arg-type]

    def forward(
        self,
        features: Float[Tensor, "b c h w"],
        semantic: SemanticPrediction,
        instances: Float[Tensor, "b k _ _"],
    ) -> Float[Tensor, "b c h w"]:
        """F_pan (plus F) from F, S and I.

        Raises:
            ConfigError: there are more instances than `top_k`.
        """
        encodings, _ = self.weighted_encodings(features, semantic, instances)
        relational = self.feature_norm(self.attention(encodings, features))
        return features + relational if self.residual else relational

    def weighted_encodings(
        self,
        features: Float[Tensor, "b c h w"],
        semantic: SemanticPrediction,
        instances: Float[Tensor, "b k _ _"],
    ) -> tuple[Float[Tensor, "b m c"], Float[Tensor, "b m"] | None]:
        """Ẽ_pan, m = n + k rows with the classes first, and ω (`None` without reweighting)."""
        check_top_k(instances.shape[1], self.top_k)
        maps, features = self._sampled(semantic.probabilities), self._sampled(features)
        if instances.shape[-2:] != maps.shape[-2:]:
            instances = self._sampled(instances)
        encodings, mass = panoptic_encodings(maps, instances, features, self.normalization)
        encodings = self.encoding_norm(encodings)
        if self.presence:
            encodings = encodings * (mass / (mass + self.presence)).unsqueeze(2)
        if self.reweighting is None:
            return encodings, None
        weights = self.reweighting(encodings, mass)
        return encodings * weights, weights.squeeze(2)

    def _sampled(self, maps: Float[Tensor, "b _ _ _"]) -> Float[Tensor, "b _ _ _"]:
        return maps[..., :: self.encoding_stride, :: self.encoding_stride]
