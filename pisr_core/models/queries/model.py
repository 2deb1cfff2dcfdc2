"""What the networks share that find segments by queries: MaskFormer, Mask2Former, EoMT."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pisr_core.models.base import Losses, TwoStageModel
from pisr_core.models.queries.instances import mask_instances, query_maps
from pisr_core.models.queries.merging import MergingRule, mask_panoptic, semantic_inference
from pisr_core.models.queries.structures import MaskOutput, MaskPrediction, MaskTargets
from pisr_core.models.queries.targets import MaskTargetGenerator
from pisr_core.models.resizing import output_bands
from pisr_core.models.stage_maps import StageMaps
from pisr_core.structures import PanopticResult, SemanticPrediction

SMALLEST_PROBABILITY = 1e-6
"""Floor of the probabilities whose logarithm stands for S's logits."""

FirstStage = tuple[Float[Tensor, "b c h w"], Float[Tensor, "l b q d"], Sequence[MaskPrediction]]


class QueryModel(TwoStageModel):
    """Features (F) and queries → initial heads (S, I) → relation (F_pan) → final heads.

    S is the sum of all queries' masks by class, I the most confident queries' masks. The final heads read the last
    layer's queries again and multiply them with F_pan.
    """

    counted_by_segments = True
    final_heads: nn.Module | None

    @property
    @abstractmethod
    def merging_rule(self) -> MergingRule:
        """How the queries become a panoptic map."""

    @abstractmethod
    def stage_losses(self, predictions: Sequence[MaskPrediction], targets: MaskTargets) -> list[Losses]:
        """The weighted terms of each prediction, each with a matching of its own."""

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
        config = self.config.relation
        reads = self.relation is not None and self.relation.uses_instances
        return mask_instances(prediction, config.top_k if reads else 0, config)

    def target_generator(self) -> MaskTargetGenerator:
        """A class and a mask for each segment."""
        return MaskTargetGenerator()

    def losses(self, output: MaskOutput, targets: MaskTargets) -> Losses:
        """The weighted terms of Eq. 1; their sum is L.

        Every layer's prediction is supervised. With a relation all of them are the first stage, weighted with γ;
        without, those before the last are the base's auxiliary losses. What has no gradient, as the first stage of a
        frozen base, is left out.
        """
        if output.initial is None:
            final, *auxiliary = self.stage_losses((output.final, *output.auxiliary), targets)
            return final | {f"auxiliary_{name}": value for name, value in _sums(auxiliary).items()}
        first = [
            prediction
            for prediction in (output.initial, *output.auxiliary)
            if prediction.class_logits.requires_grad or not torch.is_grad_enabled()
        ]
        *initial, final = self.stage_losses((*first, output.final), targets)
        return self.both_stages(final, _sums(initial))

    def merge(
        self, prediction: MaskPrediction, index: int, input_size: tuple[int, int], output_size: tuple[int, int]
    ) -> PanopticResult:
        """The panoptic map of one image of a batch."""
        bands = self.mask_bands(prediction.mask_logits[index].float(), input_size, output_size)
        return mask_panoptic(prediction.class_logits[index], bands, self.thing_ids, self.merging_rule)

    def mask_bands(
        self, mask_logits: Float[Tensor, "q h w"], input_size: tuple[int, int], output_size: tuple[int, int]
    ) -> Iterable[Float[Tensor, "q rows W"]]:
        """P(in the mask) at the output's size: masks are upsampled, cropped and resized, some rows at a time."""
        return (band.sigmoid() for band in output_bands(mask_logits, input_size, output_size, self.stride))

    def stage_maps(self, prediction: MaskPrediction) -> StageMaps:
        """S, and the masks of the top-K queries."""
        return query_maps(prediction, self.config.relation)


def _sums(layers: Sequence[Losses]) -> Losses:
    """Each term, summed over the layers."""
    names = layers[0] if layers else ()
    return {name: torch.stack([layer[name] for layer in layers]).sum() for name in names}
