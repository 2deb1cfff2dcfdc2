"""From queries to I, the instance maps that the relation encodes (Sec. 3.2)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from pisr_core.config import RelationConfig
from pisr_core.models.partition import partitioned
from pisr_core.models.queries.merging import semantic_inference
from pisr_core.models.queries.structures import MaskPrediction
from pisr_core.models.stage_maps import StageMaps


def mask_instances(prediction: MaskPrediction, k: int, config: RelationConfig) -> Float[Tensor, "b k h w"]:
    """I of mask-based models: the masks of the k most confident queries, each times its confidence, in that order.

    A query's confidence is the probability of its best class, no object left out. There are fewer maps where
    there are fewer queries.

    Args:
        prediction: a stage's.
        k: K.
        config: what keeps instances apart.
    """
    scores = prediction.class_logits.softmax(dim=2)[..., :-1].amax(dim=2)
    order = scores.detach().topk(min(k, scores.shape[1])).indices
    image = torch.arange(scores.shape[0], device=scores.device)[:, None]
    chosen = scores[image, order]
    chosen = chosen.where(chosen >= config.instance_score, torch.zeros_like(chosen))
    maps = prediction.mask_logits[image, order].sigmoid() * chosen[..., None, None]
    return partitioned(maps, config.partition, config.temperature)


def query_maps(prediction: MaskPrediction, config: RelationConfig) -> StageMaps:
    """What one stage says of a batch of one image: S, and the masks of the top-K queries.

    Args:
        prediction: the stage's.
        config: K, and what keeps instances apart.
    """
    class_logits = prediction.class_logits[0]
    k = min(config.top_k, len(class_logits))
    confidence, classes = class_logits.softmax(dim=1)[:, :-1].max(dim=1)
    scores, order = confidence.topk(k)
    # A sum over queries can exceed 1.
    evidence = semantic_inference(class_logits, prediction.mask_logits[0]).clamp(max=1)
    return StageMaps(evidence, mask_instances(prediction, k, config)[0], classes[order], scores)
