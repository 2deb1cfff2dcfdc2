import numpy as np
import pytest
import torch
from PIL import Image

from pisr_core import presets
from pisr_core.data.coco.files import CocoPanopticWriter
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.errors import ConfigError, DataError
from pisr_core.figures.annotations import Annotations
from pisr_core.figures.heatmaps import compare_models, gather_maps, visualize_heatmaps
from pisr_core.inference.predict import predict_sample
from pisr_core.models import build_model
from pisr_core.structures import Category, PanopticSegmentation, Sample, Segment

CPU = torch.device("cpu")
SMALL = ["backbone.pretrained=false", "relation.top_k=8"]


def small_model(preset, *settings):
    return build_model(presets.load(preset, [*SMALL, *settings]), SCENE_CATEGORIES).eval()


@pytest.fixture
def sample():
    return Sample(torch.randint(0, 256, (3, 64, 80), dtype=torch.uint8), None, 1, "a.png")


@pytest.fixture
def photo(tmp_path, sample):
    path = tmp_path / "photos" / "a.png"
    path.parent.mkdir()
    Image.fromarray(sample.image.permute(1, 2, 0).numpy()).save(path)
    return path


def test_what_is_gathered_is_the_modules_own(sample):
    model = small_model("scenes-pdl-r18")
    maps = gather_maps(model, sample, CPU)
    seen = []
    handle = model.relation.reweighting.register_forward_hook(lambda module, inputs, output: seen.append(output))
    expected = predict_sample(model, sample, CPU)
    handle.remove()
    assert torch.equal(maps.weights, seen[0][0])
    assert maps.weights.shape == (len(SCENE_CATEGORIES) + 8,)
    np.testing.assert_array_equal(maps.panoptic.ids, expected.ids)
    assert not model.relation._forward_pre_hooks


def test_what_categories_ask_of_one_another_is_gathered(sample):
    model = small_model("scenes-relative-pdl-r18")
    seen = []
    handle = model.relation.attention.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    shares = gather_maps(model, sample, CPU).shares
    handle.remove()
    with torch.inference_mode():
        torch.testing.assert_close(shares, model.relation.attention.shares(seen[0])[0])
    torch.testing.assert_close(shares.sum(dim=0), torch.ones(len(SCENE_CATEGORIES) + 8))
    assert gather_maps(small_model("scenes-pdl-r18"), sample, CPU).shares is None


@pytest.mark.parametrize("settings", ["relation.fused=false", "relation.attention=softmax"])
def test_the_signals_are_those_of_the_literal_order(sample, settings):
    model = small_model("scenes-pdl-r18", settings)
    seen = []
    attention = model.relation.attention
    own = attention.spatial_panoptic_features
    attention.spatial_panoptic_features = lambda *inputs: seen.append(own(*inputs)) or seen[-1]
    maps = gather_maps(model, sample, CPU)
    assert len(seen) == 2 and torch.equal(maps.signals, seen[0][0])


def test_the_signals_of_categories_are_shares(sample):
    model = small_model("scenes-pdl-r18", "relation.attention=categories", "relation.partition=hard")
    signals = gather_maps(model, sample, CPU).signals
    assert signals.shape[0] == len(SCENE_CATEGORIES) + 8 and signals.min() >= 0
    torch.testing.assert_close(signals.sum(dim=0), torch.ones(signals.shape[1:]))


@pytest.mark.parametrize(
    ("preset", "before", "weights", "signals"),
    [
        ("scenes-pdl-r18-baseline", False, False, False),
        ("scenes-pdl-r18-ocr", True, False, False),
        ("scenes-pdl-r18-noreweight", True, False, True),
        ("custom-upernet-r18", True, True, True),
        ("custom-maskformer-r18", True, True, True),
        ("custom-pfpn-r18", True, True, True),
    ],
)
def test_every_architecture_gives_what_it_has(sample, preset, before, weights, signals):
    maps = gather_maps(small_model(preset), sample, CPU)
    assert (maps.initial is not None, maps.weights is not None, maps.signals is not None) == (before, weights, signals)
    for stage in filter(None, (maps.initial, maps.final)):
        assert len(stage.classes) == len(SCENE_CATEGORIES)
        assert 0 <= stage.classes.min() and stage.classes.max() <= 1
    if maps.signals is not None:
        assert len(maps.signals) == len(SCENE_CATEGORIES) + len(maps.initial.instances)


def test_things_of_panoptic_fpn_share_their_row(sample):
    model = small_model("custom-pfpn-r18")
    seen = []
    model.relation.reweighting.register_forward_hook(lambda module, inputs, output: seen.append(output[0]))
    maps = gather_maps(model, sample, CPU)
    omega, stuff, n = seen[0], model.stuff_ids, len(SCENE_CATEGORIES)
    assert torch.equal(maps.weights[list(stuff)], omega[1 : 1 + len(stuff)])
    assert (maps.weights[list(model.thing_ids)] == omega[0]).all()
    assert torch.equal(maps.weights[n:], omega[1 + len(stuff) :]) and len(maps.weights) == n + 8


def test_pictures_of_two_models(tmp_path, photo):
    models = {"ours": small_model("scenes-pdl-r18"), "base": small_model("scenes-pdl-r18-baseline")}
    (photo.parent / "broken.png").write_text("no image")
    report = visualize_heatmaps(models, [str(photo.parent)], tmp_path / "out", CPU, ["car"])
    names = [path.relative_to(tmp_path / "out").as_posix() for path in report.pictures]
    assert names[:2] == ["ours/classes/a-car.png", "ours/weights/a.png"]
    assert {"base/classes/a-car.png", "centers/a-car.png"} <= set(names) and "base/weights/a.png" not in names
    assert report.images == [photo] and len(report.failed) == 1 and "broken.png" in report.failed[0]
    page = report.page.read_text(encoding="utf-8")
    assert page.count("<img") == len(names) and "base: a base model" in page


def test_comparison_counts_the_pixels_that_differ(tmp_path, photo, monkeypatch):
    ids = np.ones((64, 80), np.int32)
    ids[:16] = 2
    results = {
        "a": PanopticSegmentation(np.ones((64, 80), np.int32), (Segment(1, 0, 64 * 80),)),
        "b": PanopticSegmentation(ids, (Segment(1, 0, 48 * 80), Segment(2, 1, 16 * 80))),
    }
    models = {name: small_model("scenes-pdl-r18-baseline") for name in results}
    own = {id(models[name]): result for name, result in results.items()}
    monkeypatch.setattr("pisr_core.figures.heatmaps.predict_sample", lambda model, *_: own[id(model)])
    report = compare_models(models, [str(photo)], tmp_path / "out", CPU)
    assert [path.name for path in report.pictures] == ["a.png"]
    assert "25.0 % of the pixels differ" in report.page.read_text(encoding="utf-8")


def test_annotations_are_found_by_name_and_checked(tmp_path, sample):
    truth = PanopticSegmentation(np.ones((64, 80), np.int32), (Segment(1, 0, 64 * 80),))
    with CocoPanopticWriter(tmp_path / "t.json", tmp_path / "t", SCENE_CATEGORIES) as writer:
        writer.add(1, "folder/a_gtFine_leftImg8bit.jpg", truth)
    annotations = Annotations(tmp_path / "t.json")
    named = Sample(sample.image, None, 1, "a_leftImg8bit.png")
    np.testing.assert_array_equal(annotations.of(named).ids, truth.ids)
    assert annotations.of(sample) is None
    with pytest.raises(DataError, match="64×80 pixels for a_leftImg8bit.png of 64×40"):
        annotations.of(Sample(sample.image[:, :, :40], None, 1, "a_leftImg8bit.png"))


def test_mistakes_are_named(tmp_path, photo):
    model = small_model("scenes-pdl-r18-baseline")
    with pytest.raises(ConfigError, match="did you mean car"):
        visualize_heatmaps({"a": model}, [str(photo)], tmp_path / "out", CPU, ["cart"])
    other = build_model(model.config, (Category(1, "x", True), Category(2, "y", False)))
    with pytest.raises(ConfigError, match="b knows other classes than a"):
        compare_models({"a": model, "b": other}, [str(photo)], tmp_path / "out", CPU)
    with pytest.raises(DataError, match="no image there"):
        visualize_heatmaps({"a": model}, [str(tmp_path / "none")], tmp_path / "out", CPU)
