"""Models small enough to be exported in a test, with heads that say something."""

import jaxtyping
import pytest
from torch import nn

from pisr_core.backbones import STAGES, Backbone, Stage
from pisr_core.config import (
    BackboneConfig,
    BranchConfig,
    Config,
    DeepLabConfig,
    FPNConfig,
    MaskFormerConfig,
    MergeConfig,
    RelationConfig,
    UPerNetConfig,
)
from pisr_core.models import MODELS
from pisr_core.structures import Category

CATEGORIES = (
    Category(1, "sky", False, (10, 20, 30)),
    Category(2, "car", True),
    Category(5, "road", False),
    Category(7, "dog", True),
)
SETTINGS = {
    "deeplab": DeepLabConfig(
        BranchConfig(8, (4, 4), 8), BranchConfig(8, (4, 4), 8), aspp_channels=8, pool_window=(96, 170)
    ),
    "upernet": UPerNetConfig(channels=8, pool_scales=(1, 3), semantic_head_channels=8, instance_head_channels=8),
    "maskformer": MaskFormerConfig(
        channels=32,
        mask_channels=8,
        encoder_layers=1,
        query_channels=16,
        decoder_layers=1,
        queries=12,
        heads=2,
        feedforward=16,
        object_mask_threshold=0.2,
        overlap_threshold=0.01,
    ),
    "fpn": FPNConfig(
        channels=8,
        semantic_channels=32,
        box_channels=8,
        mask_channels=4,
        anchor_sizes=(8, 16, 32, 64, 128),
        proposals=12,
        detections=4,
        detection_threshold=0.01,
        merge_threshold=0.02,
    ),
}


class TinyBackbone(Backbone):
    """A strided convolution for each stage."""

    def __init__(self):
        nn.Module.__init__(self)
        self.stages = {name: Stage(8, 4 * 2**index) for index, name in enumerate(STAGES)}
        first, *others = ((3, 4), (8, 2), (8, 2), (8, 2))
        self.layers = nn.ModuleList(nn.Conv2d(i, 8, s, stride=s) for i, s in (first, *others))

    def forward(self, images):
        pyramid = {}
        for name, layer in zip(STAGES, self.layers, strict=True):
            images = pyramid[name] = layer(images).relu()
        return pyramid


@pytest.fixture
def tiny_model():
    """Builds a tiny model of an architecture and a relation."""

    def build(architecture, relation="pisr"):
        config = Config(
            name="tiny",
            architecture=architecture,
            backbone=BackboneConfig(output_stride=32),
            relation=RelationConfig(name=relation, channels=4, top_k=4),
            merge=MergeConfig(top_k=20, nms_kernel=5),
            **SETTINGS,
        )
        model = MODELS[architecture](config, CATEGORIES, backbone=TinyBackbone()).eval()
        for parameter in model.parameters():
            # Heads begin near zero and the relation as the identity.
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=(2 / parameter[0].numel()) ** 0.5)
        for name, parameter in model.named_parameters():
            # Boxes that are a hair wide would magnify every rounding, and scores of exactly 1 would be ties;
            # queries that are alike would all find the same.
            if "bbox_pred" in name or "cls_" in name:
                nn.init.normal_(parameter, std=0.02)
            if "query_embed" in name:
                nn.init.normal_(parameter, std=2.0)
        return model

    return build


@pytest.fixture
def unchecked_shapes():
    """Switches the checks of shapes off: a size that is being traced is no `int`."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
