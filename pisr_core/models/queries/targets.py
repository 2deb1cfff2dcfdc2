"""What MaskFormer learns from, drawn from an annotation (Cheng et al., NeurIPS 2021, Sec. 3.2)."""

from __future__ import annotations

import numpy as np
import torch

from pisr_core.models.queries.structures import MaskTargets
from pisr_core.pixel_runs import find_runs
from pisr_core.structures import PanopticSegmentation


class MaskTargetGenerator:
    """Turns panoptic annotations into a class and a mask for each segment."""

    def __call__(self, panoptic: PanopticSegmentation) -> MaskTargets:
        """Targets of one image. Crowds and segments without pixels are none; their pixels, and void, are in no mask."""
        present = set(find_runs(panoptic.ids).present.tolist())
        segments = [s for s in panoptic.segments if not s.iscrowd and s.id in present]
        ids = np.array([s.id for s in segments], dtype=panoptic.ids.dtype)
        return MaskTargets(
            labels=(torch.tensor([s.category for s in segments], dtype=torch.long),),
            masks=(torch.from_numpy(panoptic.ids[None] == ids[:, None, None]),),
        )
