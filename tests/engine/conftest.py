import signal
from dataclasses import replace

import pytest
import torch

from pisr_core import presets
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.models import build_model

# Shells start background jobs deaf to Ctrl-C, which some tests send to themselves and to the processes they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def tiny_config():
    config = presets.load(
        "scenes-pdl-r18",
        ["backbone.pretrained=false", "data.scenes.size=[64, 96]", "data.scenes.val_images=5"],
    )
    return replace(config, data=replace(config.data, workers=0))


@pytest.fixture
def tiny_model(tiny_config):
    torch.manual_seed(0)
    return build_model(tiny_config, SCENE_CATEGORIES)
