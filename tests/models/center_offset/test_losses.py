import json

import numpy as np
import pytest
import torch

from pisr_core.config import LossConfig
from pisr_core.models.center_offset.losses import center_mse, center_offset_losses, hard_pixel_cross_entropy, offset_l1
from pisr_core.models.center_offset.structures import CenterOffsetPrediction, CenterOffsetTargets
from pisr_core.structures import IGNORE_INDEX, SemanticPrediction, ignore_index


def test_reference_losses(parts_case, record_property):
    expected = json.loads((parts_case / "deeplab_losses.json").read_text())
    arrays = {k: torch.from_numpy(v) for k, v in np.load(parts_case / "deeplab_losses.npz").items()}
    for share, value in expected["semantic_hard_pixel_ce"].items():
        loss = hard_pixel_cross_entropy(arrays["logits"], arrays["target"], arrays["pixel_weight"], float(share))
        record_property(f"hard-pixel cross entropy {share}, relative", abs(loss.item() / value - 1))
        assert loss.item() == pytest.approx(value, rel=1e-5)
    center = [arrays[name].unsqueeze(1) for name in ("center", "center_target", "center_weight")]
    loss = center_mse(*center)
    record_property("centre loss, relative", abs(loss.item() / expected["center_mse"] - 1))
    assert loss.item() == pytest.approx(expected["center_mse"], rel=1e-5)
    weight = arrays["offset_weight"].unsqueeze(1)
    loss = offset_l1(arrays["offset"], arrays["offset_target"], weight)
    record_property("offset loss, relative", abs(loss.item() / expected["offset_l1"] - 1))
    assert loss.item() == pytest.approx(expected["offset_l1"], rel=1e-5)


def test_hard_pixels_are_the_worst_ones():
    # Two classes with equal logits cost ln 2; the wrong one by a wide margin costs the margin.
    logits = torch.zeros(1, 2, 1, 4)
    logits[0, 1, 0, 3] = 50.0
    target = torch.zeros(1, 1, 4, dtype=torch.long)
    weight = torch.ones(1, 1, 4)
    assert hard_pixel_cross_entropy(logits, target, weight, 0.25).item() == pytest.approx(50.0)
    assert hard_pixel_cross_entropy(logits, target, weight, 1.0).item() == pytest.approx((50 + 3 * np.log(2)) / 4)


def test_pixels_without_label_or_weight_cost_nothing():
    logits = torch.randn(1, 3, 4, 4)
    nothing = torch.full((1, 4, 4), IGNORE_INDEX)
    assert hard_pixel_cross_entropy(logits, nothing, torch.ones(1, 4, 4), 1.0) == 0
    zero = torch.zeros(1, 1, 4, 4)
    assert center_mse(torch.ones(1, 1, 4, 4), zero, zero) == 0
    assert offset_l1(torch.ones(1, 2, 4, 4), torch.zeros(1, 2, 4, 4), zero) == 0


def test_terms_are_weighted_and_offsets_become_pixels():
    prediction = CenterOffsetPrediction(
        SemanticPrediction.from_logits(torch.zeros(1, 2, 4, 4)),
        torch.ones(1, 1, 4, 4),
        torch.ones(1, 2, 4, 4),
    )
    plane = torch.ones(1, 1, 16, 16)
    targets = CenterOffsetTargets(
        semantic=torch.zeros(1, 16, 16, dtype=torch.long),
        semantic_weight=plane[0],
        center=0 * plane,
        center_weight=plane,
        offset=plane.expand(1, 2, 16, 16),
        offset_weight=plane,
    )
    terms = center_offset_losses(prediction, targets, LossConfig(semantic=2.0, center=200.0, offset=0.01))
    assert terms["semantic"].item() == pytest.approx(2 * np.log(2))
    assert terms["center"].item() == pytest.approx(200.0)
    assert terms["offset"].item() == pytest.approx(0.01 * 2 * 3)  # one cell is four pixels, one too few is asked


def test_the_256th_of_many_classes_is_a_class():
    logits = torch.zeros(1, 300, 1, 2)
    weight = torch.ones(1, 1, 2)
    target = torch.tensor([[[255, ignore_index(300)]]])
    assert hard_pixel_cross_entropy(logits, target, weight, 1.0).item() == pytest.approx(np.log(300) / 2)


def test_class_weights_by_hand():
    """Two pixels, both sure of class 0; the second is of class 1, which weighs 3, so that it alone is hard."""
    logits = torch.tensor([[2.0, 2.0], [0.0, 0.0]]).reshape(1, 2, 1, 2)
    target, weight = torch.tensor([[[0, 1]]]), torch.ones(1, 1, 2)
    easy, hard = np.log1p(np.exp(-2)), np.log1p(np.exp(2))
    weights = torch.tensor([0.5, 3.0])
    assert hard_pixel_cross_entropy(logits, target, weight, 1.0, weights).item() == pytest.approx(
        (0.5 * easy + 3 * hard) / 2
    )
    assert hard_pixel_cross_entropy(logits, target, weight, 0.5, weights).item() == pytest.approx(3 * hard)
    most = torch.tensor([100.0, 1.0])  # now the other one is
    assert hard_pixel_cross_entropy(logits, target, weight, 0.5, most).item() == pytest.approx(100 * easy)
