"""Several views of an image, and one prediction from those of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F

from pisr_core.models.resizing import STRIDE
from pisr_core.structures import SemanticPrediction

SMALLEST_PROBABILITY = 1e-12
"""Floor of the mean probabilities whose logarithms stand for logits."""


@dataclass(frozen=True)
class View:
    """How a model sees padded images.

    Attributes:
        image_size: (H, W) of the images, pixels.
        size: (H, W) at which they are seen, pixels.
        mirrored: whether left and right are swapped.
    """

    image_size: tuple[int, int]
    size: tuple[int, int]
    mirrored: bool

    @property
    def scale(self) -> tuple[float, float]:
        """(y, x) pixels of the images to a pixel of the view."""
        return self.image_size[0] / self.size[0], self.image_size[1] / self.size[1]

    def of_images(self, images: Shaped[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 h w"]:
        """The images as seen."""
        seen = _resize(images.float(), self.size)
        return seen.flip(3) if self.mirrored else seen

    def undo(self, maps: Float[Tensor, "b c _ _"]) -> Float[Tensor, "b c h w"]:
        """Maps predicted from the view, on the stride-4 grid of the images."""
        height, width = self.image_size
        # A copy at every size, for a model with CUDA graphs writes its next prediction where it wrote this one.
        maps = maps.to(torch.float32, copy=True)
        return _resize(maps.flip(3) if self.mirrored else maps, (height // STRIDE, width // STRIDE))


def _resize(maps: Float[Tensor, "b c _ _"], size: tuple[int, int]) -> Float[Tensor, "b c h w"]:
    if maps.shape[2:] == size:
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False, antialias=True)


def mean_maps(maps: Sequence[Float[Tensor, "b c h w"]]) -> Float[Tensor, "b c h w"]:
    """The mean of the views' maps."""
    return torch.stack(list(maps)).mean(dim=0)


def semantic_of(probabilities: Float[Tensor, "b n h w"]) -> SemanticPrediction:
    """S from probabilities that are no longer a softmax of logits."""
    return SemanticPrediction(probabilities.clamp(min=SMALLEST_PROBABILITY).log(), probabilities)
