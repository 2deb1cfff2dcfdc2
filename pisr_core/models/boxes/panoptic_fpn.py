"""Panoptic FPN (Kirillov et al., CVPR 2019) with a relation between two prediction stages (Fig. 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn import functional as F

from pisr_core.backbones import Backbone, build_backbone
from pisr_core.class_axes import ClassAxes, predictor_axes, within
from pisr_core.config import Config
from pisr_core.errors import ConfigError
from pisr_core.models.base import Losses, TwoStageModel
from pisr_core.models.boxes.exporting import RegionNetwork
from pisr_core.models.boxes.instances import box_instances
from pisr_core.models.boxes.losses import semantic_cross_entropy
from pisr_core.models.boxes.merging import fpn_panoptic
from pisr_core.models.boxes.pyramid import FeaturePyramid, SemanticBranch, relate_pyramid
from pisr_core.models.boxes.regions import ProposalNetwork, RegionHeads
from pisr_core.models.boxes.structures import FPNOutput, FPNPrediction, FPNProposals, FPNTargets
from pisr_core.models.boxes.targets import FPNTargetGenerator
from pisr_core.models.boxes.views import mean_of_views, undo_view
from pisr_core.models.stage_maps import NO_CLASS, StageMaps
from pisr_core.models.views import View
from pisr_core.relations import build_relation
from pisr_core.structures import Category, PanopticResult, SemanticPrediction


class FPNHeads(nn.Module):
    """One prediction stage: the semantic predictor, and the box and mask heads.

    Args:
        num_stuff: number of stuff classes.
        num_things: number of thing classes.
        config: the preset.
        detections: the most detections of an image.
    """

    def __init__(self, num_stuff: int, num_things: int, config: Config, detections: int) -> None:
        super().__init__()
        self.semantic_channels = config.fpn.semantic_channels
        self.semantic_weight = config.loss.semantic
        self.semantic = nn.Conv2d(self.semantic_channels, 1 + num_stuff, kernel_size=1)
        self.regions = RegionHeads(num_things, config.fpn, detections)

    def forward(
        self,
        features: Float[Tensor, "b c h w"],
        pyramid: Mapping[str, Float[Tensor, "b p _ _"]],
        proposals: FPNProposals,
        detect: bool,
    ) -> FPNPrediction:
        """S from the semantic share of the features and, if wanted, detections from the pyramid."""
        logits = self.semantic(features[:, : self.semantic_channels])
        detections = self.regions(pyramid, proposals) if detect else ()
        return FPNPrediction(SemanticPrediction.from_logits(logits), pyramid, detections)

    def losses(
        self,
        prediction: FPNPrediction,
        proposals: FPNProposals,
        targets: FPNTargets,
        class_weights: Float[Tensor, " n"] | None,
    ) -> Losses:
        """The stage's terms, weighted as in the base; the semantic branch's classes by `class_weights`."""
        semantic = semantic_cross_entropy(prediction.semantic.logits, targets.semantic, class_weights)
        regions = self.regions.losses(prediction.pyramid, proposals, targets)
        return {"semantic": self.semantic_weight * semantic, **regions}

    def class_axes(self, stuff: Sequence[str], things: Sequence[str]) -> ClassAxes:
        """Those of the semantic predictor, where all things stand first as one, and of the box and mask heads."""
        return predictor_axes("semantic", stuff, first=1) | within("regions", self.regions.class_axes(things))


FirstStage = tuple[Float[Tensor, "b c h w"], FPNProposals, FPNPrediction]


class PanopticFPN(TwoStageModel):
    """Backbone → pyramid and semantic branch (F), proposals → initial heads (S, I) → relation (F_pan) → final heads.

    F is the semantic branch's sum beside the pyramid's p2, so that it serves both kinds of heads. S has the base's
    own classes: all things as one, and each stuff class; I tells the things apart: the most confident detections'
    masks × their scores. F_pan's shares go where F's come from, see `relate_pyramid`. Both stages look at the same
    proposals, whose losses therefore count once.

    Box and mask heads have losses of their own sampling of proposals, which needs targets: it happens in `losses`,
    on this module's parameters. Distributed training takes that: gradients are exchanged where they arise, whoever
    made the graph, and every parameter has one in every step.

    Args:
        config: the preset; `relation.name = "none"` gives the base model, whose only heads are the initial ones.
        categories: the dataset's.
        backbone: one of your own in place of the config's.

    Raises:
        ConfigError: an output stride other than 32.
    """

    decoders = ("pyramid", "semantic_branch")
    fixed_shapes = False
    merges_views = True

    def __init__(self, config: Config, categories: Sequence[Category], backbone: Backbone | None = None) -> None:
        super().__init__(config, categories)
        if config.backbone.output_stride != 32:
            raise ConfigError(f"backbone.output_stride = {config.backbone.output_stride}: panoptic_fpn needs 32.")
        fpn, relation = config.fpn, config.relation
        self.stuff_ids = tuple(index for index in range(len(categories)) if index not in self.thing_ids)
        stuff, things = len(self.stuff_ids), len(self.thing_ids)
        self.backbone = backbone or build_backbone(config.backbone)
        self.pyramid = FeaturePyramid(self.backbone.stages, fpn.channels)
        self.semantic_branch = SemanticBranch(fpn.channels, fpn.semantic_channels)
        self.proposals = ProposalNetwork(fpn)
        self.relation = build_relation(fpn.semantic_channels + fpn.channels, 1 + stuff, relation)
        seen = fpn.detections if self.relation is None else relation.top_k
        self.initial_heads = FPNHeads(stuff, things, config, seen)
        self.final_heads = None if self.relation is None else FPNHeads(stuff, things, config, fpn.detections)

    @classmethod
    def busiest(cls, config: Config) -> Config:
        """As many detections pass as may."""
        return replace(config, fpn=replace(config.fpn, detection_threshold=0.0))

    @property
    def size_divisor(self) -> int:
        """Image sides are multiples of this many pixels."""
        return self.config.backbone.output_stride

    def first_stage(self, images: Shaped[Tensor, "b 3 H W"]) -> FirstStage:
        """F, the proposals and the initial predictions, which hold the pyramid."""
        pyramid = self.pyramid(self.backbone(self.normalize(images)))
        features = torch.cat((self.semantic_branch(pyramid), pyramid["p2"]), dim=1)
        proposals = self.proposals(images, pyramid)
        detect = not self.training if self.relation is None else self.relation.uses_instances
        return features, proposals, self.initial_heads(features, pyramid, proposals, detect)

    def second_stage(self, first: FirstStage) -> FPNOutput:
        """The relation and the final heads, as far as the model has them."""
        features, proposals, initial = first
        if self.relation is None or self.final_heads is None:
            return FPNOutput(initial, proposals)
        semantic, instances = initial.semantic, self.instances(initial)
        if self.config.relation.detach:
            semantic, instances = semantic.detach(), instances.detach()
        relational = self.relation(features, semantic, instances)
        p2 = relational[:, self.config.fpn.semantic_channels :]
        final = self.final_heads(relational, relate_pyramid(initial.pyramid, p2), proposals, detect=not self.training)
        return FPNOutput(final, proposals, initial, instances)

    def instances(self, prediction: FPNPrediction) -> Float[Tensor, "b k h w"]:
        """I, the maps of the top-K detections; none where the relation does not read them."""
        p2 = prediction.pyramid["p2"]
        if not prediction.detections:
            return p2.new_zeros(len(p2), 0, *p2.shape[2:])
        return box_instances(prediction.detections, self.config.relation, (p2.shape[2], p2.shape[3]))

    def target_generator(self) -> FPNTargetGenerator:
        """Semantic, box, class and mask targets."""
        return FPNTargetGenerator(self.thing_ids, self.stuff_ids)

    def losses(self, output: FPNOutput, targets: FPNTargets) -> Losses:
        """The weighted terms of Eq. 1; their sum is L."""
        heads = self.initial_heads if self.final_heads is None else self.final_heads
        weights = self._semantic_weights()
        terms = heads.losses(output.final, output.proposals, targets, weights)
        if output.initial is not None:
            initial = self.initial_heads.losses(output.initial, output.proposals, targets, weights)
            terms = self.both_stages(terms, initial)
        return terms | self.proposals.losses(output.proposals, targets)

    def _semantic_weights(self) -> Float[Tensor, " n"] | None:
        """The factors of the semantic branch's classes, of which the first, all things as one, keeps 1."""
        if self.class_weights is None:
            return None
        return torch.cat([self.class_weights.new_ones(1), self.class_weights[list(self.stuff_ids)]])

    def merge(
        self, prediction: FPNPrediction, index: int, input_size: tuple[int, int], output_size: tuple[int, int]
    ) -> PanopticResult:
        """The panoptic map of one image of a batch."""
        logits, found = prediction.semantic.logits[index], prediction.detections[index]
        return fpn_panoptic(logits, found, input_size, output_size, self.thing_ids, self.stuff_ids, self.config)

    def stage_maps(self, prediction: FPNPrediction) -> StageMaps:
        """S, which knows stuff only, and detections; a thing's evidence is the highest of its detections' maps."""
        probabilities = prediction.semantic.probabilities[0]
        things = torch.tensor(self.thing_ids, dtype=torch.long, device=probabilities.device)
        classes = probabilities.new_zeros(len(self.categories), *probabilities.shape[1:])
        classes[list(self.stuff_ids)] = probabilities[1:]
        k, found = self.config.relation.top_k, prediction.detections
        if not found:
            return StageMaps(classes, classes[:0], things[:0], classes.new_zeros(0))
        instances = box_instances(found, self.config.relation, (classes.shape[1], classes.shape[2]))[0]
        labels, scores = things[found[0].labels[:k]], found[0].scores[:k]
        for category in labels.unique().tolist():
            classes[category] = instances[: len(labels)][labels == category].amax(dim=0)
        absent = k - len(labels)
        return StageMaps(classes, instances, F.pad(labels, (0, absent), value=NO_CLASS), F.pad(scores, (0, absent)))

    def class_axes(self, categories: Sequence[Category]) -> ClassAxes:
        """What of the heads and the relation belongs to which class, were the model built for these categories."""
        things = [category.name for category in categories if category.isthing]
        stuff = [category.name for category in categories if not category.isthing]
        return self._axes_of_parts(heads=(stuff, things), relation=(stuff, 1))

    def relation_rows(self, k: int) -> list[int]:
        """All thing classes share the first row."""
        stuff = {category: row for row, category in enumerate(self.stuff_ids, start=1)}
        classes = [stuff.get(category, 0) for category in range(len(self.categories))]
        return [*classes, *range(1 + len(stuff), 1 + len(stuff) + k)]

    def undo_view(self, prediction: FPNPrediction, view: View) -> FPNPrediction:
        """What was predicted from a view, on the images' grid and in their pixels."""
        return undo_view(prediction, view)

    def mean_of_views(self, predictions: Sequence[FPNPrediction]) -> FPNPrediction:
        """The mean of the class probabilities; of detections of one instance the most confident."""
        return mean_of_views(predictions)

    def exportable(self, merging: bool) -> RegionNetwork:
        """S and detections, or the panoptic map."""
        return RegionNetwork(self, merging)
