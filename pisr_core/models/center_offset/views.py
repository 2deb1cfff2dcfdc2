"""Centre-offset predictions from several views of an image as one."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from pisr_core.models.center_offset.structures import CenterOffsetPrediction
from pisr_core.models.views import View, mean_maps, semantic_of


def undo_view(prediction: CenterOffsetPrediction, view: View) -> CenterOffsetPrediction:
    """What was predicted from a view, on the images' grid."""
    return CenterOffsetPrediction(
        semantic_of(view.undo(prediction.semantic.probabilities)),
        view.undo(prediction.center_heatmap),
        undo_offsets(prediction.offset, view),
    )


def undo_offsets(offsets: Float[Tensor, "b 2 _ _"], view: View) -> Float[Tensor, "b 2 h w"]:
    """(y, x) vectors on the images' grid, where they are scaled and mirrored themselves."""
    factors = (view.scale[0], -view.scale[1] if view.mirrored else view.scale[1])
    return view.undo(offsets) * offsets.new_tensor(factors).view(2, 1, 1)


def mean_of_views(predictions: Sequence[CenterOffsetPrediction]) -> CenterOffsetPrediction:
    """The means of the class probabilities, of the centre heatmaps and of the offsets."""
    return CenterOffsetPrediction(
        semantic_of(mean_maps([each.semantic.probabilities for each in predictions])),
        mean_maps([each.center_heatmap for each in predictions]),
        mean_maps([each.offset for each in predictions]),
    )
