"""Multi-scale and mirrored evaluation: a model sees several views of an image, and its predictions are merged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import batched_nms

from pisr_core.errors import ConfigError
from pisr_core.models import PanopticModel
from pisr_core.models.boxes.structures import Detections, FPNPrediction
from pisr_core.models.center_offset.structures import CenterOffsetPrediction
from pisr_core.models.resizing import STRIDE
from pisr_core.structures import PanopticResult, SemanticPrediction, TargetGenerator

SMALLEST_PROBABILITY = 1e-12
"""Floor of the mean probabilities whose logarithms stand for logits."""

SAME_INSTANCE = 0.5
"""IoU of boxes above which two detections of a class are one, within a view as between views."""


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

    def undo_offsets(self, offsets: Float[Tensor, "b 2 _ _"]) -> Float[Tensor, "b 2 h w"]:
        """The same for (y, x) vectors, which are scaled and mirrored themselves."""
        factors = (self.scale[0], -self.scale[1] if self.mirrored else self.scale[1])
        return self.undo(offsets) * offsets.new_tensor(factors).view(2, 1, 1)

    def undo_detections(self, found: Detections) -> Detections:
        """Detections in the view as detections in the image."""
        boxes, masks = found.boxes, found.masks
        if self.mirrored:
            x1, y1, x2, y2 = boxes.unbind(1)
            boxes, masks = torch.stack((self.size[1] - x2, y1, self.size[1] - x1, y2), dim=1), masks.flip(2)
        return replace(found, boxes=boxes * boxes.new_tensor((*self.scale[::-1], *self.scale[::-1])), masks=masks)


def _resize(maps: Float[Tensor, "b c _ _"], size: tuple[int, int]) -> Float[Tensor, "b c h w"]:
    if maps.shape[2:] == size:
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False, antialias=True)


def undo_center_offset(prediction: CenterOffsetPrediction, view: View) -> CenterOffsetPrediction:
    """What centre-offset models predict, on the images' grid."""
    return CenterOffsetPrediction(
        _semantic(view.undo(prediction.semantic.probabilities)),
        view.undo(prediction.center_heatmap),
        view.undo_offsets(prediction.offset),
    )


def merge_center_offset(predictions: Sequence[CenterOffsetPrediction]) -> CenterOffsetPrediction:
    """The means of the class probabilities, of the centre heatmaps and of the offsets."""
    return CenterOffsetPrediction(
        _semantic(_mean([each.semantic.probabilities for each in predictions])),
        _mean([each.center_heatmap for each in predictions]),
        _mean([each.offset for each in predictions]),
    )


def undo_fpn(prediction: FPNPrediction, view: View) -> FPNPrediction:
    """What Panoptic FPN predicts, on the images' grid and in their pixels."""
    return FPNPrediction(
        _semantic(view.undo(prediction.semantic.probabilities)),
        pyramid={},
        detections=tuple(map(view.undo_detections, prediction.detections)),
    )


def merge_fpn(predictions: Sequence[FPNPrediction]) -> FPNPrediction:
    """The mean of the class probabilities; of detections of one instance the most confident."""
    by_image = zip(*(each.detections for each in predictions), strict=True)
    semantic = _semantic(_mean([each.semantic.probabilities for each in predictions]))
    return FPNPrediction(semantic, pyramid={}, detections=tuple(map(_distinct, by_image)))


def _distinct(found: Sequence[Detections]) -> Detections:
    boxes, scores, labels, masks = (
        torch.cat([getattr(each, name) for each in found]) for name in ("boxes", "scores", "labels", "masks")
    )
    kept = batched_nms(boxes, scores, labels, SAME_INSTANCE)
    return Detections(boxes[kept], scores[kept], labels[kept], masks[kept])


def _mean(maps: Sequence[Float[Tensor, "b c h w"]]) -> Float[Tensor, "b c h w"]:
    return torch.stack(list(maps)).mean(dim=0)


def _semantic(probabilities: Float[Tensor, "b n h w"]) -> SemanticPrediction:
    return SemanticPrediction(probabilities.clamp(min=SMALLEST_PROBABILITY).log(), probabilities)


Undo = Callable[[Any, View], Any]
Merge = Callable[[Sequence[Any]], Any]

MERGING: dict[str, tuple[Undo, Merge]] = {
    "panoptic_deeplab": (undo_center_offset, merge_center_offset),
    "upernet": (undo_center_offset, merge_center_offset),
    "panoptic_fpn": (undo_fpn, merge_fpn),
}
"""How each architecture's final predictions come back from a view, and become one.

MaskFormer is not there: a query of one view is no query of another, so that their masks have no mean."""


class MultiScaleModel(PanopticModel):
    """A trained model that predicts from several views of each image; it evaluates, but does not train.

    Args:
        model: the trained model.
        scales: sizes of the views relative to the evaluation size; sides are rounded to `model.size_divisor`.
        flip: see each scale mirrored too.

    Raises:
        ConfigError: no scale, a scale that is not above 0, or an architecture whose predictions have no mean.
    """

    def __init__(self, model: PanopticModel, scales: Sequence[float], flip: bool) -> None:
        super().__init__(model.config, model.categories)
        if not scales or min(scales) <= 0:
            raise ConfigError(f"scales {list(scales)}: one or more numbers above 0 are needed, for example 0.5,1,1.5.")
        if model.config.architecture not in MERGING:
            raise ConfigError(
                f"{model.config.architecture} cannot merge several scales or mirrored images: its queries differ from "
                f"one to the next. Leave --multi-scale and --flip out; {', '.join(MERGING)} can."
            )
        self.model = model
        self.scales = tuple(scales)
        self.flip = flip
        self._undo, self._merge = MERGING[model.config.architecture]

    @property
    def size_divisor(self) -> int:
        """Image sides are multiples of this many pixels."""
        return self.model.size_divisor

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
            finals.append(self._undo(output.final, view))
        return replace(output, final=self._merge(finals), initial=None, instances=None)

    def panoptic(
        self, output: Any, input_sizes: Sequence[tuple[int, int]], output_sizes: Sequence[tuple[int, int]]
    ) -> list[PanopticResult]:
        """The panoptic map of each image of a padded batch, resized to `output_sizes`."""
        return self.model.panoptic(output, input_sizes, output_sizes)

    def target_generator(self) -> TargetGenerator:
        """That of the model."""
        return self.model.target_generator()

    def losses(self, output: Any, targets: Any) -> dict[str, Float[Tensor, ""]]:
        """Not defined."""
        raise NotImplementedError("several views are for evaluation only")
