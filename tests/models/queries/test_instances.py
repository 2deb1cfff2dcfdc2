import math

import numpy as np
import pytest
import torch

from pisr_core.config import RelationConfig
from pisr_core.models.queries.instances import mask_instances, query_maps
from pisr_core.models.queries.structures import MaskPrediction

N = 6


def test_queries_become_instances_in_order_of_confidence():
    # Best classes, no object (the last) left out: 0.5, 0.7, 0.05.
    probabilities = torch.tensor([[[0.5, 0.3, 0.2], [0.2, 0.7, 0.1], [0.05, 0.05, 0.9]]])
    masks = torch.tensor([0.5, 0.9, 0.1]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    prediction = MaskPrediction(probabilities.log(), masks.logit())
    assert mask_instances(prediction, 2, RelationConfig())[0, :, 0, 0].tolist() == pytest.approx([0.63, 0.25])
    assert mask_instances(prediction, 9, RelationConfig()).shape == (1, 3, 2, 2)
    assert mask_instances(prediction, 0, RelationConfig()).shape == (1, 0, 2, 2)


def test_a_query_that_is_not_sure_is_no_instance():
    probabilities = torch.tensor([[[0.5, 0.3, 0.2], [0.2, 0.7, 0.1]]])
    prediction = MaskPrediction(probabilities.log(), torch.full((1, 2, 1, 1), 0.9).logit())
    maps = mask_instances(prediction, 2, RelationConfig(instance_score=0.6))
    assert maps.flatten().tolist() == pytest.approx([0.63, 0])
    whole = mask_instances(prediction, 2, RelationConfig(partition="hard"))
    assert whole.flatten().tolist() == pytest.approx([0.63, 0])


def test_queries_are_ordered_by_confidence():
    class_logits = torch.full((1, 4, N + 1), -50.0)
    for query, (category, confidence) in enumerate([(2, 0.5), (4, 0.9), (N, 0.99), (1, 0.7)]):
        class_logits[0, query, category] = math.log(confidence)
        class_logits[0, query, 0 if category == N else N] = math.log(1 - confidence)
    mask_logits = torch.full((1, 4, 2, 2), -50.0)
    mask_logits[0, 1, 0] = 50
    stage = query_maps(MaskPrediction(class_logits, mask_logits), RelationConfig(top_k=3))
    assert stage.instance_classes.tolist() == [4, 1, 2]
    assert stage.instance_scores.tolist() == pytest.approx([0.9, 0.7, 0.5])
    np.testing.assert_allclose(stage.instances[0], [[0.9, 0.9], [0, 0]], atol=1e-5)
    np.testing.assert_allclose(stage.classes[4], [[0.9, 0.9], [0, 0]], atol=1e-5)
    assert stage.peaks is None and stage.center_heatmap is None
