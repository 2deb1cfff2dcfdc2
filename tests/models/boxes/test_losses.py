import numpy as np
import pytest
import torch

from pisr_core.models.boxes.losses import semantic_cross_entropy
from pisr_core.structures import IGNORE_INDEX


def test_mean_over_labelled_pixels_after_upsampling():
    logits = torch.zeros(1, 3, 2, 2, requires_grad=True)
    target = torch.full((1, 8, 8), IGNORE_INDEX)
    target[0, :4] = 2
    assert semantic_cross_entropy(logits, target).item() == pytest.approx(np.log(3))
    loss = semantic_cross_entropy(logits, torch.full((1, 8, 8), IGNORE_INDEX))
    loss.backward()
    assert loss == 0 and (logits.grad == 0).all()
