"""UPerNet made panoptic, with a relation between two prediction stages (Fig. 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from jaxtyping import Float
from torch import Tensor

from pisr_core.backbones import Backbone
from pisr_core.config import Config
from pisr_core.models.center_offset.decoders.upernet import UPerNetDecoder
from pisr_core.models.center_offset.heads import CenterOffsetHeads
from pisr_core.models.center_offset.model import CenterOffsetModel
from pisr_core.relations import build_relation
from pisr_core.structures import Category


class UPerNet(CenterOffsetModel):
    """The fused map of the decoder is F; the heads of Panoptic-DeepLab all read the whole of it.

    The paper modifies UPerNet "for the panoptic segmentation task" (Sec. 4.3) without saying how; centres and offsets
    are what it describes in Sec. 3.2.

    Args:
        config: the preset; `relation.name = "none"` gives the base model, whose only heads are the initial ones.
        categories: the dataset's.
        backbone: one of your own in place of the config's.
    """

    decoders = ("decoder",)

    def __init__(self, config: Config, categories: Sequence[Category], backbone: Backbone | None = None) -> None:
        super().__init__(config, categories, backbone)
        n, upernet = len(categories), config.upernet
        self.decoder = UPerNetDecoder(self.backbone.stages, upernet)
        heads = partial(
            CenterOffsetHeads,
            num_classes=n,
            widths=(upernet.channels,),
            head_channels=(upernet.semantic_head_channels, upernet.instance_head_channels),
            separable=upernet.depthwise_separable,
        )
        self.initial_heads = heads()
        self.relation = build_relation(upernet.channels, n, config.relation)
        self.final_heads = None if self.relation is None else heads(instances=config.relation.final_heads == "all")

    @property
    def size_divisor(self) -> int:
        """Image sides are multiples of this many pixels."""
        return 32

    def decode(self, pyramid: Mapping[str, Float[Tensor, "b _ _ _"]]) -> Float[Tensor, "b c h w"]:
        """F, at stride 4."""
        return self.decoder(pyramid)
