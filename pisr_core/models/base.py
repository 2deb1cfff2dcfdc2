"""What all panoptic models share, and what all networks do that have a place for a relation (Fig. 2)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from pisr_core.backbones import PIXEL_MEAN, PIXEL_STD
from pisr_core.config import Config
from pisr_core.structures import Category, PanopticResult, TargetGenerator, thing_ids


class PanopticModel(nn.Module, ABC):
    """A network with everything that follows it: its losses and its way to a panoptic map.

    Attributes:
        config: the preset that it was built from.
        categories: the dataset's classes, in the order of its predictions.
        thing_ids: positions of the thing classes.
    """

    def __init__(self, config: Config, categories: Sequence[Category]) -> None:
        super().__init__()
        self.config = config
        self.categories = tuple(categories)
        self.thing_ids = thing_ids(categories)
        self.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(PIXEL_STD).view(3, 1, 1), persistent=False)

    @property
    @abstractmethod
    def size_divisor(self) -> int:
        """Image sides are multiples of this many pixels."""

    def normalize(self, images: Shaped[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
        """RGB values in 0–255, of any type, to what the backbone expects."""
        return (images - self.pixel_mean) / self.pixel_std  # type: ignore[operator]

    @abstractmethod
    def target_generator(self) -> TargetGenerator:
        """What turns an annotation into the targets that `losses` reads."""

    @abstractmethod
    def losses(self, output: Any, targets: Any) -> dict[str, Float[Tensor, ""]]:
        """The weighted terms of Eq. 1; their sum is L."""

    @abstractmethod
    def panoptic(
        self,
        output: Any,
        input_sizes: Sequence[tuple[int, int]],
        output_sizes: Sequence[tuple[int, int]],
    ) -> list[PanopticResult]:
        """The panoptic map of each image of a padded batch, resized to `output_sizes`."""


class TwoStageModel(PanopticModel):
    """First predictions, the relation, final predictions: Fig. 2."""

    def forward(self, images: Shaped[Tensor, "b 3 H W"]) -> Any:
        """Both stages' predictions for RGB images with values in 0–255."""
        return self.second_stage(self.first_stage(images))

    @abstractmethod
    def first_stage(self, images: Shaped[Tensor, "b 3 H W"]) -> Any:
        """All that comes before the relation, and so does not depend on K, for RGB images with values in 0–255."""

    @abstractmethod
    def second_stage(self, first: Any) -> Any:
        """The relation and the final heads, as far as the model has them; I has `config.relation.top_k` maps."""
