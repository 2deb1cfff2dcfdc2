"""Multi-scale and mirrored prediction: a model sees several views of an image, and its predictions are merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jaxtyping import Shaped
from torch import Tensor

from pisr_core.errors import ConfigError
from pisr_core.models import MODELS, PanopticModel
from pisr_core.models.views import View
from pisr_core.models.wrapped import WrappedModel


class MultiScaleModel(WrappedModel):
    """A trained model that predicts from several views of each image; it evaluates, but does not train.

    Args:
        model: the trained model.
        scales: sizes of the views relative to the evaluation size; sides are rounded to `model.size_divisor`.
        flip: see each scale mirrored too.

    Raises:
        ConfigError: no scale, a scale that is not above 0, or an architecture whose predictions have no mean.
    """

    def __init__(self, model: PanopticModel, scales: Sequence[float], flip: bool) -> None:
        super().__init__(model)
        if not scales or min(scales) <= 0:
            raise ConfigError(f"scales {list(scales)}: one or more numbers above 0 are needed, for example 0.5,1,1.5.")
        if not self.network.merges_views:
            able = ", ".join(name for name, kind in MODELS.items() if kind.merges_views)
            raise ConfigError(
                f"{model.config.architecture} cannot merge several scales or mirrored images: its queries differ from "
                f"one to the next. Leave --multi-scale and --flip out; {able} can."
            )
        self.scales = tuple(scales)
        self.flip = flip

    def views(self, size: tuple[int, int]) -> list[View]:
        """What the model sees of images of (H, W) pixels."""
        divisor = self.size_divisor
        views = []
        for scale in self.scales:
            height, width = (max(1, round(scale * side / divisor)) * divisor for side in size)
            views += [View(size, (height, width), mirrored) for mirrored in (False, True)[: 1 + self.flip]]
        return views

    def forward(self, images: Shaped[Tensor, "b 3 H W"]) -> Any:
        """The model's output with the merged final predictions; what came before them is left out."""
        finals = []
        for view in self.views((images.shape[2], images.shape[3])):
            output = self.model(view.of_images(images))
            finals.append(self.network.undo_view(output.final, view))
        return replace(output, final=self.network.mean_of_views(finals), initial=None, instances=None)
