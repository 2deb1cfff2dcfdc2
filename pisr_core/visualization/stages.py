"""What a model computed on its way to one image's panoptic map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from pisr_core.models.resizing import STRIDE, to_output_size
from pisr_core.models.stage_maps import StageMaps
from pisr_core.structures import PanopticSegmentation


@dataclass(frozen=True)
class ImageMaps:
    """What a model computed on its way to one image's panoptic map; m = n + k categories, the classes first.

    Attributes:
        image: RGB, at its own size.
        input_size: (H, W) of the network's input without padding, pixels.
        panoptic: the final map.
        final: the final stage, the only one of a base model.
        initial: the stage before the relation, `None` for a base model.
        weights: ω of each category, `None` where the relation has none.
        signals: F_sp of each category, `None` for relations other than PISR.
        shares: how much of each category (rows) each one takes (columns), where they attend to one another.
        stride: pixels of the network's input to a cell of the maps.
    """

    image: UInt8[np.ndarray, "H W 3"]
    input_size: tuple[int, int]
    panoptic: PanopticSegmentation
    final: StageMaps
    initial: StageMaps | None = None
    weights: Float[Tensor, " m"] | None = None
    signals: Float[Tensor, "m h w"] | None = None
    shares: Float[Tensor, "m m"] | None = None
    stride: int = STRIDE

    @property
    def encoded(self) -> StageMaps:
        """The stage whose classes and instances the relation encodes; the only one of a base model."""
        return self.final if self.initial is None else self.initial

    def at_image_size(self, grid: Float[Tensor, "h w"]) -> Float[np.ndarray, "H W"]:
        """One map of the grid, upsampled bilinearly to the image."""
        size = (self.image.shape[0], self.image.shape[1])
        return to_output_size(grid[None].float(), self.input_size, size, self.stride)[0].cpu().numpy()

    def at_image_points(self, cells: Int[Tensor, "p 2"]) -> Float[np.ndarray, "p 2"]:
        """(y, x) in pixels of the image of the middles of the grid's cells."""
        scale = np.array(self.image.shape[:2], np.float32) / np.array(self.input_size, np.float32)
        return (cells.cpu().numpy().astype(np.float32) + 0.5) * self.stride * scale - 0.5
