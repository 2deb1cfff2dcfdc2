"""Networks of `transformers` as graphs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from pisr_core.models.queries.exporting import MaskNetwork


class UniversalNetwork(MaskNetwork):
    """Of one size and one number of images: `transformers` computes shapes that a graph cannot leave open."""

    free_batch = False

    def __init__(self, model: Any, merging: bool) -> None:
        super().__init__(model, merging)
        if hasattr(model.backbone, "set_attn_implementation"):
            # What fused attention gives lies in memory in an order that the converter to ONNX refuses.
            model.backbone.set_attn_implementation("eager")

    @property
    def smallest(self) -> int:
        """Nothing depends on it where the size is fixed."""
        return 1

    def free_range(self, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """That size alone."""
        height, width = size
        return (height, height), (width, width)

    def full_masks(self, mask_logits: Float[Tensor, "b q h w"]) -> Float[Tensor, "b q H W"]:
        """P(in the mask) at the images' size: enlarged before the sigmoid, or after it."""
        settings = self.model.config.transformers
        if settings.enlarge != "probabilities":
            return super().full_masks(mask_logits)
        size = [side * self.model.stride for side in mask_logits.shape[2:]]
        masks = at_grid(mask_logits, settings.mask_grid).sigmoid()
        return F.interpolate(masks, size, mode="bilinear", align_corners=False)


def at_grid(mask_logits: Float[Tensor, "b q h w"], grid: Sequence[int]) -> Float[Tensor, "b q _ _"]:
    """Masks brought to the (height, width) of `transformers.mask_grid`, which may be empty: then as they are."""
    if not grid:
        return mask_logits
    return F.interpolate(mask_logits, tuple(grid), mode="bilinear", align_corners=False)
