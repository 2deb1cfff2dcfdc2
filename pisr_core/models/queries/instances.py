"""From queries to I, the instance maps that the relation encodes (Sec. 3.2)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from pisr_core.models.queries.structures import MaskPrediction


def mask_instances(prediction: MaskPrediction, k: int) -> Float[Tensor, "b k h w"]:
    """I of mask-based models: the masks of the k most confident queries, each times its confidence, in that order.

    A query's confidence is the probability of its best class, no object left out. There are fewer maps where
    there are fewer queries.
    """
    scores = prediction.class_logits.softmax(dim=2)[..., :-1].amax(dim=2)
    order = scores.detach().topk(min(k, scores.shape[1])).indices
    image = torch.arange(scores.shape[0], device=scores.device)[:, None]
    return prediction.mask_logits[image, order].sigmoid() * scores[image, order][..., None, None]
