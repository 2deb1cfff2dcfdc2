"""MaskFormer (Cheng et al., NeurIPS 2021) with a relation between two prediction stages (Fig. 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from pisr_core.backbones import Backbone, build_backbone
from pisr_core.config import Config
from pisr_core.models.base import Losses, TwoStageModel
from pisr_core.models.queries.exporting import MaskNetwork
from pisr_core.models.queries.instances import mask_instances, query_maps
from pisr_core.models.queries.losses import mask_losses
from pisr_core.models.queries.mask_decoder import MaskHeads, TransformerDecoder
from pisr_core.models.queries.merging import mask_panoptic, semantic_inference
from pisr_core.models.queries.pixel_decoder import PixelDecoder
from pisr_core.models.queries.structures import MaskOutput, MaskPrediction, MaskTargets
from pisr_core.models.queries.targets import MaskTargetGenerator
from pisr_core.models.stage_maps import StageMaps
from pisr_core.relations import build_relation
from pisr_core.structures import Category, PanopticResult, SemanticPrediction

SMALLEST_PROBABILITY = 1e-6
"""Floor of the probabilities whose logarithm stands for S's logits."""

FirstStage = tuple[Float[Tensor, "b c h w"], Float[Tensor, "l b q d"], Sequence[MaskPrediction]]


class MaskFormer(TwoStageModel):
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

    def second_stage(self, first: FirstStage) -> MaskOutput:
        """The relation and the final heads, as far as the model has them."""
        features, queries, (*auxiliary, initial) = first
        if self.relation is None or self.final_heads is None:
            return MaskOutput(final=initial, auxiliary=tuple(auxiliary))
        semantic, instances = self.semantic(initial), self.instances(initial)
        if self.config.relation.detach:
            semantic, instances = semantic.detach(), instances.detach()
        relational = self.relation(features, semantic, instances)
        (final,) = self.final_heads(queries[-1:], relational)
        return MaskOutput(final, tuple(auxiliary), initial, instances)

    def semantic(self, prediction: MaskPrediction) -> SemanticPrediction:
        """S: what all queries together say of each class. Unlike a softmax it does not add up to 1."""
        probabilities = semantic_inference(prediction.class_logits, prediction.mask_logits)
        return SemanticPrediction(probabilities.clamp(min=SMALLEST_PROBABILITY).log(), probabilities)

    def instances(self, prediction: MaskPrediction) -> Float[Tensor, "b k h w"]:
        """I, the masks of the top-K queries; none where the relation does not read them."""
        reads = self.relation is not None and self.relation.uses_instances
        return mask_instances(prediction, self.config.relation.top_k if reads else 0)

    def target_generator(self) -> MaskTargetGenerator:
        """A class and a mask for each segment."""
        return MaskTargetGenerator()

    def losses(self, output: MaskOutput, targets: MaskTargets) -> Losses:
        """The weighted terms of Eq. 1; their sum is L.

        Every decoder layer is supervised. With a relation all of them are the first stage, weighted with γ;
        without, those before the last are the base's auxiliary losses.
        """
        initial = () if output.initial is None else (output.initial,)
        final, *earlier = mask_losses((output.final, *output.auxiliary, *initial), targets, self.config.maskformer)
        if not earlier:
            return final
        sums = {name: torch.stack([layer[name] for layer in earlier]).sum() for name in final}
        if initial:
            return self.both_stages(final, sums)
        return final | {f"auxiliary_{name}": value for name, value in sums.items()}

    def merge(
        self, prediction: MaskPrediction, index: int, input_size: tuple[int, int], output_size: tuple[int, int]
    ) -> PanopticResult:
        """The panoptic map of one image of a batch."""
        return mask_panoptic(prediction, index, input_size, output_size, self.thing_ids, self.config.maskformer)

    def stage_maps(self, prediction: MaskPrediction) -> StageMaps:
        """S, and the masks of the top-K queries."""
        return query_maps(prediction, self.config.relation.top_k)

    def exportable(self, merging: bool) -> MaskNetwork:
        """Classes and masks of the queries, or the panoptic map."""
        return MaskNetwork(self, merging)
