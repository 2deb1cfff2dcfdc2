"""What the architectures share that find instances by centres and offsets: Panoptic-DeepLab and UPerNet."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

from jaxtyping import Float, Shaped
from torch import Tensor

from pisr_core.backbones import Backbone, build_backbone
from pisr_core.config import Config
from pisr_core.models.base import TwoStageModel
from pisr_core.models.center_offset.heads import CenterOffsetHeads
from pisr_core.models.center_offset.instances import center_instances
from pisr_core.models.center_offset.losses import center_offset_losses
from pisr_core.models.center_offset.merging import center_offset_panoptic
from pisr_core.models.center_offset.structures import CenterOffsetOutput, CenterOffsetPrediction, CenterOffsetTargets
from pisr_core.models.center_offset.targets import CenterOffsetTargetGenerator
from pisr_core.relations import Relation
from pisr_core.structures import Category, PanopticResult


class CenterOffsetModel(TwoStageModel):
    """Backbone → decoder (F) → initial heads (S, M, O) → relation (F_pan) → final heads.

    Those who inherit build the decoder and the stages; `relation` and `final_heads` are `None` for a base model.

    Args:
        config: the preset.
        categories: the dataset's.
        backbone: one of your own in place of the config's.
    """

    initial_heads: CenterOffsetHeads
    relation: Relation | None
    final_heads: CenterOffsetHeads | None

    def __init__(self, config: Config, categories: Sequence[Category], backbone: Backbone | None = None) -> None:
        super().__init__(config, categories)
        self.backbone = backbone or build_backbone(config.backbone)

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
        return CenterOffsetOutput(final=self.final_heads(relational, initial), initial=initial, instances=instances)

    def instances(self, prediction: CenterOffsetPrediction) -> Float[Tensor, "b k h w"]:
        """I, the maps of the top-K instances; none where the relation does not read them."""
        config = self.config.relation
        k = config.top_k if self.relation is not None and self.relation.uses_instances else 0
        stride = 1 if self.relation is None else self.relation.encoding_stride
        return center_instances(prediction, self.thing_ids, k, config.instance_radius, config.thing_mask, stride)

    def target_generator(self) -> CenterOffsetTargetGenerator:
        """Semantic, centre and offset targets."""
        return CenterOffsetTargetGenerator(self.config.targets, self.thing_ids)

    def losses(self, output: CenterOffsetOutput, targets: CenterOffsetTargets) -> dict[str, Float[Tensor, ""]]:
        """The weighted terms of Eq. 1; their sum is L."""
        terms = center_offset_losses(output.final, targets, self.config.loss)
        if output.initial is not None:
            for name, value in center_offset_losses(output.initial, targets, self.config.loss).items():
                terms[f"initial_{name}"] = self.config.loss.gamma * value
        return terms

    def panoptic(
        self,
        output: CenterOffsetOutput,
        input_sizes: Sequence[tuple[int, int]],
        output_sizes: Sequence[tuple[int, int]],
    ) -> list[PanopticResult]:
        """The panoptic map of each image.

        Args:
            output: of `forward` for a padded batch.
            input_sizes: (H, W) of each image without its padding, pixels.
            output_sizes: (H, W) that each result shall have.
        """
        return [
            center_offset_panoptic(output.final, index, sizes[0], sizes[1], self.thing_ids, self.config.merge)
            for index, sizes in enumerate(zip(input_sizes, output_sizes, strict=True))
        ]
