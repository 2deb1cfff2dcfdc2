from dataclasses import replace

import numpy as np
import pytest
import torch

from pisr_core import presets
from pisr_core.config import LossConfig
from pisr_core.errors import ConfigError
from pisr_core.models import build_model
from pisr_core.models.class_weights import class_weights
from pisr_core.structures import Category, PanopticSegmentation, Segment

CATEGORIES = (Category(1, "car", True), Category(2, "road", False), Category(3, "sky", False))


def test_a_vector_in_the_order_of_the_classes():
    assert class_weights(LossConfig(class_weights={"sky": 3.0, "car": 0.5}), CATEGORIES).tolist() == [0.5, 1.0, 3.0]
    for without in ({}, "balanced"):
        assert class_weights(LossConfig(class_weights=without), CATEGORIES) is None
    with pytest.raises(ConfigError, match=r"loss.class_weights.see = 2.0: no such class; there are car, road, sky"):
        class_weights(LossConfig(class_weights={"see": 2.0}), CATEGORIES)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("loss.class_weights=even", "choose one of balanced"),
        ("loss.class_weights.sky=0", "loss.class_weights.sky = 0.0: above 0"),
        ("loss.class_weights.sky=much", "a number is needed"),
        ("loss.class_weights=3", "a table is needed"),
    ],
)
def test_what_is_no_weight(override, message):
    with pytest.raises(ConfigError, match=message):
        presets.load("custom-pdl-lite0", [override])


@pytest.mark.parametrize(
    ("preset", "term"),
    [
        ("custom-pdl-lite0", "semantic"),
        ("custom-upernet-r18", "semantic"),
        ("custom-pfpn-r18", "semantic"),
        ("custom-maskformer-r18", "class"),
    ],
)
def test_they_reach_the_cross_entropy_of_both_stages_and_nothing_else(preset, term):
    """All pixels are of one class: its weight is a factor where nothing is normalised, else changes nothing."""
    settings = ["backbone.pretrained=false", "loss.hard_pixel_share=1.0", "relation.channels=8", "relation.top_k=4"]
    config = presets.load(preset, settings)
    ids = np.ones((64, 64), np.int32)
    ids[:, 32:] = 2
    panoptic = PanopticSegmentation(ids, (Segment(1, 1, 2048), Segment(2, 0, 2048)))

    def losses(weights):
        torch.manual_seed(0)
        model = build_model(replace(config, loss=replace(config.loss, class_weights=weights)), CATEGORIES)
        targets = model.target_generator()(panoptic)
        torch.manual_seed(0)
        output = model(torch.full((1, 3, 64, 64), 90, dtype=torch.uint8))
        return {name: value.item() for name, value in model.losses(output, type(targets).stack([targets])).items()}

    plain, equal, weighted = losses({}), losses({"sky": 7.0}), losses({"road": 50.0})
    assert equal == pytest.approx(plain, rel=1e-5)  # there is no sky
    changed = {name for name, value in weighted.items() if value != pytest.approx(plain[name], rel=1e-4)}
    assert changed == {term, f"initial_{term}"}
