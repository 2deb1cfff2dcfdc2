"""What the architectures share that find instances by centres and offsets: Panoptic-DeepLab and UPerNet."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from pisr_core.backbones import Backbone, build_backbone
from pisr_core.config import Config
from pisr_core.models.base import Losses, TwoStageModel
from pisr_core.models.center_offset.exporting import CenterOffsetNetwork
from pisr_core.models.center_offset.heads import CenterOffsetHeads
from pisr_core.models.center_offset.instances import (
    center_instances,
    confident_centers,
    majority_classes,
    what_is_there,
)
from pisr_core.models.center_offset.losses import center_offset_losses
from pisr_core.models.center_offset.merging.panoptic import center_offset_panoptic
from pisr_core.models.center_offset.structures import CenterOffsetOutput, CenterOffsetPrediction, CenterOffsetTargets
from pisr_core.models.center_offset.targets import CenterOffsetTargetGenerator
from pisr_core.models.center_offset.views import mean_of_views, undo_view
from pisr_core.models.stage_maps import StageMaps
from pisr_core.models.views import View
from pisr_core.relations.reweighting import reweighting_loss
from pisr_core.structures import Category, PanopticResult


class CenterOffsetModel(TwoStageModel):
    """Backbone → decoder (F) → initial heads (S, M, O) → relation (F_pan) → final heads.

    Those who inherit build the decoder and the stages; `relation` and `final_heads` are `None` for a base model.

    Args:
        config: the preset.
        categories: the dataset's.
        backbone: one of your own in place of the config's.
    """

    merges_views = True

    things: Int[Tensor, " t"]
    initial_heads: CenterOffsetHeads
    final_heads: CenterOffsetHeads | None

    def __init__(self, config: Config, categories: Sequence[Category], backbone: Backbone | None = None) -> None:
        super().__init__(config, categories)
        self.backbone = backbone or build_backbone(config.backbone)
        self.register_buffer("things", torch.tensor(self.thing_ids, dtype=torch.long), persistent=False)

    @classmethod
    def check_config(cls, config: Config) -> None:
        """Nothing: the final heads may predict classes alone here, and a loss may teach ω."""

    @abstractmethod
    def decode(self, pyramid: Mapping[str, Float[Tensor, "b _ _ _"]]) -> Float[Tensor, "b c h w"]:
        """F, at stride 4."""

    def first_stage(self, images: Shaped[Tensor, "b 3 H W"]) -> tuple[Float[Tensor, "b c h w"], CenterOffsetPrediction]:
        """F, and S, M and O of the initial heads."""
        features = self.decode(self.backbone(self.normalize(images)))
        return features, self.initial_heads(features)

    def second_stage(self, first: tuple[Float[Tensor, "b c h w"], CenterOffsetPrediction]) -> CenterOffsetOutput:
        """The relation and the final heads, as far as the model has them."""
        features, initial = first
        if self.relation is None or self.final_heads is None:
            return CenterOffsetOutput(final=initial)
        semantic, instances = initial.semantic, self.instances(initial)
        if self.config.relation.detach:
            semantic, instances = semantic.detach(), instances.detach()
        relational = self.relation(features, semantic, instances)
        final = self.final_heads(relational, initial)
        taught = self.training and self.config.loss.reweighting > 0
        weights = self.relation.taught_weights(features, semantic, instances) if taught else None
        return CenterOffsetOutput(final, initial, instances, weights)

    def instances(self, prediction: CenterOffsetPrediction) -> Float[Tensor, "b k h w"]:
        """I, the maps of the top-K instances; none where the relation does not read them."""
        config = self.config.relation
        k = config.top_k if self.relation is not None and self.relation.uses_instances else 0
        stride = 1 if self.relation is None else self.relation.encoding_stride
        return center_instances(prediction, self.things, k, config, stride)

    def target_generator(self) -> CenterOffsetTargetGenerator:
        """Semantic, centre and offset targets."""
        return CenterOffsetTargetGenerator(self.config.targets, self.thing_ids, len(self.categories))

    def losses(self, output: CenterOffsetOutput, targets: CenterOffsetTargets) -> Losses:
        """The weighted terms of Eq. 1; their sum is L."""
        final = center_offset_losses(output.final, targets, self.config.loss, self.class_weights)
        if output.initial is None:
            return final
        initial = center_offset_losses(output.initial, targets, self.config.loss, self.class_weights)
        terms = self.both_stages(final, initial)
        if output.weights is None:
            return terms
        present, counted = what_is_there(output.initial, targets, output.weights.shape[1], self.config.relation)
        loss = reweighting_loss(output.weights, present, counted)
        return terms | {"reweighting": self.config.loss.reweighting * loss}

    def merge(
        self,
        prediction: CenterOffsetPrediction,
        index: int,
        input_size: tuple[int, int],
        output_size: tuple[int, int],
    ) -> PanopticResult:
        """The panoptic map of one image of a batch."""
        return center_offset_panoptic(prediction, index, input_size, output_size, self.thing_ids, self.config.merge)

    def stage_maps(self, prediction: CenterOffsetPrediction) -> StageMaps:
        """S, M, and the top-K centres with their maps; an instance's class is that of which its map holds most."""
        relation, things = self.config.relation, self.things
        k = relation.top_k if len(things) else 0
        probabilities = prediction.semantic.probabilities[0]
        scores, peaks = confident_centers(prediction.center_heatmap, k, relation.instance_score)
        instances = center_instances(prediction, things, k, relation)[0]
        classes = majority_classes(instances, probabilities, things)
        center_heatmap = prediction.center_heatmap[0, 0]
        return StageMaps(probabilities, instances, classes, scores[0].clamp(max=1), center_heatmap, peaks[0])

    def undo_view(self, prediction: CenterOffsetPrediction, view: View) -> CenterOffsetPrediction:
        """What was predicted from a view, on the images' grid."""
        return undo_view(prediction, view)

    def mean_of_views(self, predictions: Sequence[CenterOffsetPrediction]) -> CenterOffsetPrediction:
        """The means of the class probabilities, of the centre heatmaps and of the offsets."""
        return mean_of_views(predictions)

    def exportable(self, merging: bool) -> CenterOffsetNetwork:
        """S, M and O, or the panoptic map."""
        return CenterOffsetNetwork(self, merging)
