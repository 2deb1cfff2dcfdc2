"""MaskFormer (Cheng et al., NeurIPS 2021) with a relation between two prediction stages (Fig. 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jaxtyping import Shaped
from torch import Tensor

from pisr_core.backbones import Backbone, build_backbone
from pisr_core.config import Config
from pisr_core.models.base import Losses
from pisr_core.models.queries.exporting import MaskNetwork
from pisr_core.models.queries.maskformer.losses import mask_losses
from pisr_core.models.queries.maskformer.mask_decoder import MaskHeads, TransformerDecoder
from pisr_core.models.queries.maskformer.pixel_decoder import PixelDecoder
from pisr_core.models.queries.merging import MergingRule
from pisr_core.models.queries.model import FirstStage, QueryModel
from pisr_core.models.queries.structures import MaskPrediction, MaskTargets
from pisr_core.relations import build_relation
from pisr_core.structures import Category


class MaskFormer(QueryModel):
    """Backbone → pixel decoder (F) → queries and initial heads (S, I) → relation (F_pan) → final heads.

    F are the mask features, S the sum of all queries' masks by class, I the most confident queries' masks. The
    final heads read the last layer's queries again and multiply them with F_pan.

    Args:
        config: the preset; `relation.name = "none"` gives the base model, whose only heads are the initial ones.
        categories: the dataset's.
        backbone: one of your own in place of the config's.
    """

    decoders = ("pixel_decoder", "transformer_decoder")

    def __init__(self, config: Config, categories: Sequence[Category], backbone: Backbone | None = None) -> None:
        super().__init__(config, categories)
        n, maskformer = len(categories), config.maskformer
        self.backbone = backbone or build_backbone(config.backbone)
        self.pixel_decoder = PixelDecoder(self.backbone.stages, maskformer)
        self.transformer_decoder = TransformerDecoder(self.pixel_decoder.context_channels, maskformer)
        self.initial_heads = MaskHeads(n, maskformer)
        relation = replace(config.relation, top_k=min(config.relation.top_k, maskformer.queries))
        self.relation = build_relation(maskformer.mask_channels, n, relation)
        self.final_heads = None if self.relation is None else MaskHeads(n, maskformer)

    @classmethod
    def instance_limit(cls, config: Config) -> tuple[int, str]:
        """One instance a query."""
        return config.maskformer.queries, "maskformer.queries"

    @property
    def size_divisor(self) -> int:
        """Image sides are multiples of this many pixels."""
        return self.config.backbone.output_stride

    def first_stage(self, images: Shaped[Tensor, "b 3 H W"]) -> FirstStage:
        """F, the queries of all decoder layers, and what the initial heads say of each layer's."""
        features, context = self.pixel_decoder(self.backbone(self.normalize(images)))
        queries = self.transformer_decoder(context)
        return features, queries, self.initial_heads(queries, features)

    def stage_losses(self, predictions: Sequence[MaskPrediction], targets: MaskTargets) -> list[Losses]:
        """Cross entropy, focal and Dice loss of each prediction."""
        return mask_losses(predictions, targets, self.config.maskformer, self.class_weights)

    @property
    def merging_rule(self) -> MergingRule:
        """Every pixel goes to the query that comes nearest to it."""
        config = self.config.maskformer
        return MergingRule(config.object_mask_threshold, config.overlap_threshold)

    def exportable(self, merging: bool) -> MaskNetwork:
        """Classes and masks of the queries, or the panoptic map."""
        return MaskNetwork(self, merging)
