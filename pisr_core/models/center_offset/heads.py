"""Semantic, centre and offset heads: S, M and O from F."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from pisr_core.class_axes import ClassAxes, predictor_axes
from pisr_core.models.center_offset.decoders.deeplab import refinement
from pisr_core.models.center_offset.structures import CenterOffsetPrediction
from pisr_core.structures import SemanticPrediction


class CenterOffsetHeads(nn.Module):
    """One prediction stage of Panoptic-DeepLab.

    Args:
        num_classes: n.
        widths: channels of F that the semantic head reads, and those after them that the instance heads read; or of
            all F, which both read.
        head_channels: widths before the semantic predictor and before those of centres and offsets.
        separable: 5×5 depthwise-separable convolutions in place of pairs of 3×3.
        instances: predict M and O; else those of an earlier stage are kept.
    """

    def __init__(
        self,
        num_classes: int,
        widths: tuple[int, ...],
        head_channels: tuple[int, int],
        separable: bool,
        instances: bool = True,
    ) -> None:
        super().__init__()
        self.widths = widths
        semantic, instance = widths[0], widths[-1]
        semantic_head, instance_head = head_channels
        self.semantic = _head(semantic, semantic_head, num_classes, separable)
        self.instances = instances
        if not instances:
            return
        # The public model keeps plain convolutions before the centres.
        self.center = _head(instance, instance_head, 1, separable=False)
        self.offset = _head(instance, instance_head, 2, separable)

    def forward(
        self, features: Float[Tensor, "b c h w"], earlier: CenterOffsetPrediction | None = None
    ) -> CenterOffsetPrediction:
        """S, M and O; the offsets in stride-4 cells.

        Args:
            features: F, or F_pan.
            earlier: the stage before; it is read by heads without `instances` only.
        """
        parts = features.split(self.widths, dim=1)
        # A part that lies between others is copied here, or each convolution that reads it would.
        own = torch.clone if len(parts) > 1 else nn.Identity()
        semantic = SemanticPrediction.from_logits(self.semantic(own(parts[0])))
        if earlier is not None and not self.instances:
            return replace(earlier, semantic=semantic)
        instance = own(parts[-1])
        return CenterOffsetPrediction(semantic, self.center(instance), self.offset(instance))

    def class_axes(self, classes: Sequence[str]) -> ClassAxes:
        """The semantic predictor's."""
        return predictor_axes("semantic.1", classes)


def _head(channels: int, head_channels: int, outputs: int, separable: bool) -> nn.Sequential:
    predictor = nn.Conv2d(head_channels, outputs, kernel_size=1)
    nn.init.normal_(predictor.weight, std=0.001)
    nn.init.zeros_(predictor.bias)  # type: ignore[arg-type]
    return nn.Sequential(refinement(channels, channels, head_channels, separable), predictor)
