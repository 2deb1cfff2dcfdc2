"""A model within another that predicts as it does, only faster or from more views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pisr_core.models.base import Losses, PanopticModel, TwoStageModel
from pisr_core.structures import PanopticResult, TargetGenerator


class WrappedModel(PanopticModel):
    """Everything but the forward pass is that of the model within; it does not train.

    Args:
        model: the model within.
    """

    def __init__(self, model: PanopticModel) -> None:
        super().__init__(model.config, model.categories)
        self.model = model

    @property
    def network(self) -> TwoStageModel:
        """The network within all wrappings."""
        return self.model.network

    @property
    def size_divisor(self) -> int:
        """Image sides are multiples of this many pixels."""
        return self.model.size_divisor

    def panoptic(
        self, output: Any, input_sizes: Sequence[tuple[int, int]], output_sizes: Sequence[tuple[int, int]]
    ) -> list[PanopticResult]:
        """The panoptic map of each image of a padded batch, resized to `output_sizes`."""
        return self.model.panoptic(output, input_sizes, output_sizes)

    def target_generator(self) -> TargetGenerator:
        """That of the model."""
        return self.model.target_generator()

    def losses(self, output: Any, targets: Any) -> Losses:
        """Not defined."""
        raise NotImplementedError(f"a {type(self).__name__} predicts, but does not train")
