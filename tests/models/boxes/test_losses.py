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
