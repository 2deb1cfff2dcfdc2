import math

import numpy as np
import pytest
import torch

from pisr_core.config import MaskFormerConfig
from pisr_core.models.queries.maskformer.losses import class_loss, dice_loss, focal_loss, mask_losses
from pisr_core.models.queries.maskformer.matching import dice_cost, focal_cost, match
from pisr_core.models.queries.structures import MaskPrediction, MaskTargets

CONFIG = MaskFormerConfig()


def certain(labels: list[int], masks: torch.Tensor, classes: int = 3) -> MaskPrediction:
    """Queries (of one image) that are sure of their class (`classes` for none) and of their mask."""
    logits = 20 * torch.nn.functional.one_hot(torch.tensor(labels), classes + 1).float()
    return MaskPrediction(logits[None], (40 * masks.float() - 20)[None])


def quadrants() -> torch.Tensor:
    masks = torch.zeros(4, 8, 8, dtype=torch.bool)
    for index in range(4):
        y, x = 4 * (index // 2), 4 * (index % 2)
        masks[index, y : y + 4, x : x + 4] = True
    return masks


def test_losses_by_hand():
    # A mask logit of 0: P = 1/2, focal α (1/2)² ln 2 inside, (1 − α) (1/2)² ln 2 outside.
    masks = torch.tensor([[1.0, 0.0]])
    assert focal_loss(torch.zeros(1, 2), masks).item() == pytest.approx((0.25 + 0.75) / 2 * math.log(2) / 4)
    # Overlap 1/2, areas 1 and 1.
    assert dice_loss(torch.zeros(1, 2), masks).item() == pytest.approx(1 - (2 * 0.5 + 1) / (1 + 1 + 1))
    # Equal logits of three classes cost ln 3 each, whatever the weights.
    none = torch.zeros(0, dtype=torch.long)
    assert class_loss(torch.zeros(1, 4, 3), none, none, none, 0.1).item() == pytest.approx(math.log(3))
    # One matched query costs a, three unmatched nothing: a / (1 + 3 · 0.1).
    logits = torch.tensor([[[0.0, 0, 50]] * 3 + [[0.0, 0, 3]]])
    index = torch.zeros(1, dtype=torch.long)
    a = math.log(2 + math.exp(3))
    assert class_loss(logits, index, index + 3, index, 0.1).item() == pytest.approx(a / 1.3)
    # Of a class that weighs 5, that query's: 5a / (5 + 3 · 0.1).
    weights = torch.tensor([5.0, 1.0])
    assert class_loss(logits, index, index + 3, index, 0.1, weights).item() == pytest.approx(5 * a / 5.3)


def test_costs_are_the_losses_of_every_pair():
    logits, masks = torch.randn(3, 10), (torch.rand(2, 10) > 0.5).float()
    for q in range(3):
        for t in range(2):
            pair = logits[q : q + 1], masks[t : t + 1]
            torch.testing.assert_close(focal_cost(logits, masks)[q, t], focal_loss(*pair))
            torch.testing.assert_close(dice_cost(logits, masks)[q, t], dice_loss(*pair))


def test_a_permutation_is_found_for_every_image_and_layer():
    masks = quadrants()
    first, second = certain([2, 0, 3, 1], masks[[3, 0, 2, 1]]), certain([1, 3, 2, 0], masks[[1, 2, 3, 0]])
    batch = MaskPrediction(
        torch.cat((first.class_logits, second.class_logits)), torch.cat((first.mask_logits, second.mask_logits))
    )
    swapped = MaskPrediction(batch.class_logits.flip(0), batch.mask_logits.flip(0))
    wanted = MaskTargets((torch.tensor([0, 1, 2]), torch.tensor([2])), (masks[[0, 1, 3]], masks[[3]]))
    matches = match([batch, swapped], wanted, CONFIG)
    assert matches[0].tolist() == [[0, 0, 0, 1], [0, 1, 3, 2], [2, 0, 1, 3]]
    assert matches[1].tolist() == [[0, 0, 0, 1], [0, 2, 3, 0], [1, 2, 0, 3]]


def test_more_targets_than_queries_and_none():
    masks = quadrants()
    prediction = certain([0, 1], masks[:2])
    matches = match([prediction], MaskTargets((torch.tensor([2, 1, 0, 2]),), (masks[[2, 1, 0, 3]],)), CONFIG)
    assert matches[0].tolist() == [[0, 0], [0, 1], [2, 1]]
    nothing = MaskTargets((torch.zeros(0, dtype=torch.long),), (torch.zeros(0, 8, 8, dtype=torch.bool),))
    assert match([prediction], nothing, CONFIG).shape == (1, 3, 0)
    (terms,) = mask_losses([prediction], nothing, CONFIG)
    assert terms["mask"] == 0 and terms["dice"] == 0
    assert terms["class"].item() == pytest.approx(20.0, rel=1e-3)  # both queries are surely wrong


def test_perfect_predictions_cost_nothing_and_order_does_not_matter():
    masks, labels = quadrants(), torch.tensor([0, 1, 2, 1])
    prediction = certain([1, 2, 1, 0, 3], torch.cat((masks[[1, 2, 3, 0]], torch.zeros(1, 8, 8, dtype=torch.bool))))
    (terms,) = mask_losses([prediction], MaskTargets((labels,), (masks,)), CONFIG)
    assert all(value < 1e-4 for value in terms.values())
    rough = MaskPrediction(torch.randn(1, 5, 4), torch.randn(1, 5, 8, 8))
    order = torch.tensor([2, 0, 3, 1])
    (one,) = mask_losses([rough], MaskTargets((labels,), (masks,)), CONFIG)
    (other,) = mask_losses([rough], MaskTargets((labels[order],), (masks[order],)), CONFIG)
    for name in one:
        torch.testing.assert_close(one[name], other[name])


def test_a_prediction_that_is_not_finite_gives_a_loss_that_is_not():
    masks = quadrants()
    prediction = MaskPrediction(torch.full((1, 5, 4), np.nan), torch.full((1, 5, 8, 8), np.nan))
    (terms,) = mask_losses([prediction], MaskTargets((torch.tensor([0, 1, 2, 1]),), (masks,)), CONFIG)
    assert all(value.isnan() for value in terms.values())


def test_autocast_does_not_reach_the_losses():
    masks = quadrants()
    prediction = MaskPrediction(torch.randn(1, 5, 4), 30 * torch.randn(1, 5, 8, 8))
    wanted = MaskTargets((torch.tensor([0, 1, 2, 1]),), (masks,))
    (plain,) = mask_losses([prediction], wanted, CONFIG)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (cast,) = mask_losses([prediction], wanted, CONFIG)
    assert plain == cast


def test_a_step_waits_for_the_device_once(monkeypatch):
    calls = []
    for name in ("cpu", "item", "tolist", "nonzero", "__bool__"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda *a, _n=name, _f=original: (calls.append(_n), _f(*a))[1])
    masks = quadrants()
    images = MaskTargets((torch.tensor([0, 1]), torch.tensor([2])), (masks[:2], masks[2:3]))
    layers = [MaskPrediction(torch.randn(2, 5, 4), torch.randn(2, 5, 8, 8)) for _ in range(3)]
    mask_losses(layers, images, CONFIG)
    assert calls == ["cpu"]
