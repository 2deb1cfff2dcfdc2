import numpy as np
import pytest
import torch

from pisr_core.models.boxes.losses import semantic_cross_entropy
from pisr_core.structures import IGNORE_INDEX, ignore_index


def test_mean_over_labelled_pixels_after_upsampling():
    logits = torch.zeros(1, 3, 2, 2, requires_grad=True)
    target = torch.full((1, 8, 8), IGNORE_INDEX)
    target[0, :4] = 2
    assert semantic_cross_entropy(logits, target).item() == pytest.approx(np.log(3))
    loss = semantic_cross_entropy(logits, torch.full((1, 8, 8), IGNORE_INDEX))
    loss.backward()
    assert loss == 0 and (logits.grad == 0).all()


def test_the_256th_of_many_classes_is_a_class():
    target = torch.tensor([[[255, ignore_index(300)]]])
    assert semantic_cross_entropy(torch.zeros(1, 300, 1, 2), target).item() == pytest.approx(np.log(300))


def test_class_weights_by_hand():
    """Of two labelled pixels each counts by the weight of its class; the third has no label."""
    logits = torch.tensor([[2.0, 2.0, 9.0], [0.0, 0.0, 0.0]]).reshape(1, 2, 1, 3)
    target = torch.tensor([[[0, 1, IGNORE_INDEX]]])
    loss = semantic_cross_entropy(logits, target, torch.tensor([1.0, 3.0]))
    assert loss.item() == pytest.approx((np.log1p(np.exp(-2)) + 3 * np.log1p(np.exp(2))) / 4)
