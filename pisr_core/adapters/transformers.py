"""PISR in a network of `transformers` that you have in hand, with the arguments and results of its own class."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from pisr_core.config import Config, LossConfig, RelationConfig, check
from pisr_core.errors import ConfigError
from pisr_core.models import MODELS
from pisr_core.models.queries.structures import MaskTargets
from pisr_core.models.queries.universal.model import UniversalSegmentation
from pisr_core.structures import Category

DEFAULTS = RelationConfig(channels=128, top_k=100)
"""K = 100 is the number of queries of most public models."""


@dataclass
class UniversalOutput(ModelOutput):
    """The final stage's predictions, which the network's image processor takes for its own, and the loss."""

    loss: Float[Tensor, ""] | None = None
    """Eq. 1, where there are labels."""
    class_queries_logits: Float[Tensor, "b q c"] | None = None
    masks_queries_logits: Float[Tensor, "b q h w"] | None = None


class PISRUniversalSegmentation(nn.Module):
    """A network of `transformers` with a relation between its mask features and its final masks.

    The final heads begin as copies of the network's own, so that with a residual relation an untrained wrapper changes
    nothing. In training every layer's predictions are supervised, at inference those of the last are made.

    Args:
        base: the network; its parts become parts of this one.
        relation: which relation, and its settings. A K beyond the number of queries is lowered to it.
        gamma: γ of Eq. 1, the weight of the network's own loss.

    Attributes:
        model: the same as one of our models.

    Raises:
        ConfigError: `relation.name` is `none`, or the network's class is not supported, or not with a relation.
    """

    def __init__(self, base: PreTrainedModel, relation: RelationConfig = DEFAULTS, gamma: float = 0.5) -> None:
        super().__init__()
        check(relation.name != "none", "relation.name", relation.name, "there must be one between the two stages")
        kind, labels = str(base.config.model_type), cast(dict[int, str], base.config.id2label)
        universal = {name: model for name, model in MODELS.items() if issubclass(model, UniversalSegmentation)}
        name = next((name for name, model in universal.items() if kind in model.kinds), None)
        if name is None:
            raise ConfigError(f"{type(base).__name__}: networks of {', '.join(universal)} are supported.")
        config = Config(
            architecture=name,
            # Their image processors normalise.
            transformers=replace(
                universal[name].settings_of(base), pixel_mean=(0.0, 0.0, 0.0), pixel_std=(1.0, 1.0, 1.0)
            ),
            relation=relation,
            loss=LossConfig(gamma=gamma),
        )
        classes = [Category(index, label, isthing=True) for index, label in sorted(labels.items())]
        universal[name].check_config(config)
        self.model = universal[name](config, classes, base)

    def forward(
        self,
        pixel_values: Float[Tensor, "b 3 H W"],
        mask_labels: list[Float[Tensor, "_ H W"]] | None = None,
        class_labels: list[Int[Tensor, " _"]] | None = None,
    ) -> UniversalOutput:
        """The final classes and masks, and with labels Eq. 1 as the loss.

        Args:
            pixel_values: as the network's image processor gives them.
            mask_labels: the segments' masks of each image, 0 or 1.
            class_labels: their classes.
        """
        output = self.model(pixel_values)
        loss = None
        if mask_labels is not None and class_labels is not None:
            targets = MaskTargets(tuple(class_labels), tuple(masks.bool() for masks in mask_labels))
            loss = torch.stack(list(self.model.losses(output, targets).values())).sum()
        return UniversalOutput(loss, output.final.class_logits, output.final.mask_logits)
