"""What Panoptic FPN learns from, drawn from an annotation (Kirillov et al., CVPR 2019)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from pisr_core.models.boxes.structures import FPNTargets
from pisr_core.pixel_runs import find_runs
from pisr_core.structures import PanopticSegmentation, ignore_index


class FPNTargetGenerator:
    """Turns panoptic annotations into the targets of the semantic branch and of Mask R-CNN's heads.

    Args:
        thing_ids: positions of the thing classes.
        stuff_ids: positions of the stuff classes.
    """

    def __init__(self, thing_ids: Sequence[int], stuff_ids: Sequence[int]) -> None:
        self._thing_labels = {category: label for label, category in enumerate(thing_ids)}
        self._ignore_index = ignore_index(1 + len(stuff_ids))
        self._semantic_labels = {category: label for label, category in enumerate(stuff_ids, start=1)}

    def __call__(self, panoptic: PanopticSegmentation) -> FPNTargets:
        """Targets of one image, the semantic map without a batch dimension.

        Crowds are things to the semantic branch and nothing to the other heads, as in the public code. So are
        segments without pixels.
        """
        owner = panoptic.segment_index()
        areas = np.bincount(owner.ravel(), minlength=len(panoptic.segments) + 1)
        semantic = [self._semantic_labels.get(segment.category, 0) for segment in panoptic.segments]
        instances = [
            position
            for position, segment in enumerate(panoptic.segments)
            if segment.category in self._thing_labels and not segment.iscrowd and areas[position]
        ]
        labels = [self._thing_labels[panoptic.segments[position].category] for position in instances]
        masks = torch.from_numpy(owner == np.array(instances, dtype=np.int64)[:, None, None])
        return FPNTargets(
            semantic=torch.from_numpy(np.array([*semantic, self._ignore_index], dtype=np.int64)[owner]),
            boxes=(tight_boxes(owner, instances),),
            labels=(torch.tensor(labels, dtype=torch.int64),),
            masks=(masks,),
        )


def tight_boxes(owner: Int[np.ndarray, "H W"], instances: Sequence[int]) -> Float[Tensor, "k 4"]:
    """(x1, y1, x2, y2) of the outer edges of some owners' pixels, so that one pixel has a box of width 1.

    Args:
        owner: see `PanopticSegmentation.segment_index`.
        instances: owners that have pixels.
    """
    runs = find_runs(owner)
    places = np.searchsorted(runs.present, instances)
    corners, sizes = runs.boxes[places, :2], runs.boxes[places, 2:]
    return torch.from_numpy(np.concatenate((corners, corners + sizes), axis=1)).float()
