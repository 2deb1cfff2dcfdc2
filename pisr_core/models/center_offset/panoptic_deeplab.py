"""Panoptic-DeepLab with a relation between two prediction stages (Fig. 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from pisr_core.backbones import Backbone
from pisr_core.config import Config
from pisr_core.models.center_offset.decoders.deeplab import DeepLabDecoder
from pisr_core.models.center_offset.exporting import CenterOffsetNetwork
from pisr_core.models.center_offset.heads import CenterOffsetHeads
from pisr_core.models.center_offset.model import CenterOffsetModel
from pisr_core.relations import build_relation
from pisr_core.structures import Category


class PanopticDeepLab(CenterOffsetModel):
    """Two decoders, whose features side by side are F: the semantic head reads its share, the instance heads theirs.

    Args:
        config: the preset; `relation.name = "none"` gives the base model, whose only heads are the initial ones.
        categories: the dataset's.
        backbone: one of your own in place of the config's.
    """

    decoders = ("semantic_decoder", "instance_decoder")

    def __init__(self, config: Config, categories: Sequence[Category], backbone: Backbone | None = None) -> None:
        super().__init__(config, categories, backbone)
        n, deeplab = len(categories), config.deeplab
        semantic, instance = deeplab.semantic, deeplab.instance
        self.semantic_decoder = DeepLabDecoder(self.backbone.stages, semantic, deeplab)
        self.instance_decoder = DeepLabDecoder(self.backbone.stages, instance, deeplab)
        heads = partial(
            CenterOffsetHeads,
            num_classes=n,
            widths=(semantic.channels, instance.channels),
            head_channels=(semantic.head_channels, instance.head_channels),
            separable=deeplab.depthwise_separable,
        )
        self.initial_heads = heads()
        self.relation = build_relation(semantic.channels + instance.channels, n, config.relation)
        self.final_heads = None if self.relation is None else heads(instances=config.relation.final_heads == "all")

    @property
    def size_divisor(self) -> int:
        """Image sides are multiples of this many pixels."""
        return self.config.deeplab.pad_to or self.config.backbone.output_stride

    def exportable(self, merging: bool) -> CenterOffsetNetwork:
        """S, M and O, or the panoptic map; the graph depends on whether images fit into the pooling window."""
        return CenterOffsetNetwork(self, merging, self.config.deeplab.pool_window)

    def decode(self, pyramid: Mapping[str, Float[Tensor, "b _ _ _"]]) -> Float[Tensor, "b c h w"]:
        """F: the semantic decoder's channels, then the instance decoder's."""
        return torch.cat((self.semantic_decoder(pyramid), self.instance_decoder(pyramid)), dim=1)
