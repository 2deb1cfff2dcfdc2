from dataclasses import replace

import pytest
import torch

from pisr_core import presets
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.errors import ConfigError
from pisr_core.inference.multi_scale import MultiScaleModel
from pisr_core.models import TwoStageModel, build_model
from pisr_core.models.boxes import views as box_views
from pisr_core.models.boxes.structures import Detections, FPNPrediction
from pisr_core.models.center_offset import views as center_offset_views
from pisr_core.models.center_offset.structures import CenterOffsetOutput, CenterOffsetPrediction
from pisr_core.models.views import View
from pisr_core.structures import SemanticPrediction


def cells(images):
    """Means of 4×4 pixels."""
    return torch.nn.functional.avg_pool2d(images.float(), 4) / 255


class Equivariant(TwoStageModel):
    """Predicts from colours alone, with offsets to the image's middle: scaling and mirroring commute with it."""

    size_divisor = 16
    merges_views = True
    target_generator = losses = merge = stage_maps = first_stage = second_stage = None
    undo_view = staticmethod(center_offset_views.undo_view)
    mean_of_views = staticmethod(center_offset_views.mean_of_views)

    def __init__(self, config):
        super().__init__(config, SCENE_CATEGORIES)
        self.sizes = []

    def forward(self, images):
        self.sizes.append(tuple(images.shape[2:]))
        grid = cells(images)
        height, width = grid.shape[2:]
        y = (height - 1) / 2 - torch.arange(height).float()[:, None].expand(height, width)
        x = (width - 1) / 2 - torch.arange(width).float().expand(height, width)
        offset = torch.stack((y, x)).expand(len(grid), 2, height, width)
        return CenterOffsetOutput(
            CenterOffsetPrediction(SemanticPrediction.from_logits(5 * grid), grid[:, :1], offset), instances=grid
        )


@pytest.fixture
def images():
    """Smooth pictures, so that resizing loses little."""
    coarse = torch.rand(2, 3, 2, 2) * 255
    return torch.nn.functional.interpolate(coarse, size=(64, 96), mode="bilinear", align_corners=True).to(torch.uint8)


def final(model, images):
    output = model(images)
    assert output.initial is None
    return output.final


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_prediction_may_be_overwritten_by_the_next(mirrored):
    """As those of models with CUDA graphs are."""
    maps = torch.rand(1, 2, 16, 24)
    undone = View((64, 96), (64, 96), mirrored).undo(maps)
    expected = maps.flip(3) if mirrored else maps.clone()
    maps.zero_()
    assert torch.equal(undone, expected)


@pytest.mark.parametrize("scales", [(1.0,), (1.0, 1.0)])
def test_a_mirrored_view_changes_nothing_for_an_equivariant_model(tiny_config, images, scales):
    model = Equivariant(tiny_config)
    alone, both = model(images).final, final(MultiScaleModel(model, scales, flip=True), images)
    torch.testing.assert_close(both.semantic.probabilities, alone.semantic.probabilities)
    torch.testing.assert_close(both.semantic.logits.softmax(1), alone.semantic.probabilities)
    torch.testing.assert_close(both.center_heatmap, alone.center_heatmap)
    torch.testing.assert_close(both.offset, alone.offset)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_offsets_of_other_scales_are_in_cells_of_the_image(tiny_config, images, scale):
    model = Equivariant(tiny_config)
    alone, scaled = model(images).final, final(MultiScaleModel(model, (scale,), flip=True), images)
    inner = (..., slice(2, -2), slice(2, -2))  # resizing cuts linear maps off at the border
    torch.testing.assert_close(scaled.offset[inner], alone.offset[inner], atol=0.02, rtol=0)
    torch.testing.assert_close(scaled.center_heatmap, alone.center_heatmap, atol=0.05, rtol=0)


def test_views_have_the_scales_and_sides_that_the_model_takes(tiny_config, images):
    model = Equivariant(tiny_config)
    MultiScaleModel(model, (0.5, 1.0, 1.4), flip=True)(images)
    assert model.sizes == [s for s in ((32, 48), (64, 96), (96, 128)) for _ in range(2)]


def test_a_mean_is_the_mean(tiny_config):
    """Constant maps: the second view's mirrored offset (0, 1) is (0, −1) in the image."""

    class Constant(Equivariant):
        def forward(self, images):
            grid = cells(images)[:, :1]
            vector = torch.tensor([0.0, 1.0]).view(1, 2, 1, 1).expand(len(grid), 2, *grid.shape[2:])
            logits = torch.full((len(grid), 2, *grid.shape[2:]), 0.0)
            logits[:, 0] = torch.tensor(3.0).log() if len(self.sizes) == 0 else 0.0
            self.sizes.append(None)
            return CenterOffsetOutput(CenterOffsetPrediction(SemanticPrediction.from_logits(logits), grid, vector))

    merged = final(MultiScaleModel(Constant(tiny_config), (1.0,), flip=True), torch.zeros(1, 3, 16, 16))
    assert torch.equal(merged.offset, torch.zeros(1, 2, 4, 4))
    torch.testing.assert_close(merged.semantic.probabilities[:, 0], torch.full((1, 4, 4), (0.75 + 0.5) / 2))


def detections(*rows):
    boxes, scores, labels = zip(*rows, strict=True)
    masks = torch.arange(4.0).view(1, 2, 2).repeat(len(rows), 1, 1)
    return Detections(torch.tensor(boxes), torch.tensor(scores), torch.tensor(labels), masks)


def test_detections_of_a_mirrored_half_size_view_come_back():
    found = box_views.undo_detections(
        detections(([2.0, 4.0, 10.0, 8.0], 0.5, 1)), View((64, 96), (32, 48), mirrored=True)
    )
    assert found.boxes.tolist() == [[76.0, 8.0, 92.0, 16.0]]
    assert found.masks.tolist() == [[[1.0, 0.0], [3.0, 2.0]]]


def test_one_instance_in_two_views_is_detected_once():
    semantic = SemanticPrediction.from_logits(torch.zeros(1, 2, 4, 4))
    first = detections(([0.0, 0.0, 10.0, 10.0], 0.6, 0), ([20.0, 0.0, 30.0, 10.0], 0.9, 0))
    second = detections(([0.0, 0.0, 10.0, 9.0], 0.8, 0), ([20.0, 0.0, 30.0, 10.0], 0.7, 1))
    merged = box_views.mean_of_views([FPNPrediction(semantic, {}, (first,)), FPNPrediction(semantic, {}, (second,))])
    assert [round(score, 1) for score in merged.detections[0].scores.tolist()] == [0.9, 0.8, 0.7]
    assert merged.detections[0].labels.tolist() == [0, 0, 1]


@pytest.mark.parametrize("name", ["custom-pdl-r18", "custom-upernet-r18", "custom-pfpn-r18"])
def test_real_models_predict_from_several_views(name):
    config = presets.load(name, ["backbone.pretrained=false"])
    model = build_model(replace(config, merge=replace(config.merge, stuff_area=0.0)), SCENE_CATEGORIES).eval()
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    views = MultiScaleModel(model, (0.5, 1.0), flip=True).eval()
    with torch.inference_mode():
        (result,) = views.panoptic(views(image), [(60, 64)], [(30, 32)])
    assert result.panoptic.ids.shape == result.semantic.shape == (30, 32)


def test_one_unmirrored_view_is_the_model_itself(tiny_model):
    image = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    tiny_model.eval()
    with torch.inference_mode():
        expected, found = tiny_model(image).final, MultiScaleModel(tiny_model, (1.0,), flip=False).eval()(image).final
    torch.testing.assert_close(found.semantic.logits.softmax(1), expected.semantic.probabilities)
    assert torch.equal(found.offset, expected.offset)


def test_mask_models_and_bad_scales_are_refused(tiny_model):
    config = presets.load("custom-maskformer-r18", ["backbone.pretrained=false"])
    with pytest.raises(ConfigError, match="queries differ"):
        MultiScaleModel(build_model(config, SCENE_CATEGORIES), (1.0,), flip=True)
    for scales in ((), (0.0, 1.0)):
        with pytest.raises(ConfigError, match="above 0"):
            MultiScaleModel(tiny_model, scales, flip=False)
