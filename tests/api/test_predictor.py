import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pisr_core import Prediction, Predictor, load_model, presets
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.errors import CheckpointError, ConfigError, DataError
from pisr_core.inference.mode import inference
from pisr_core.inference.predict import predict_sample
from pisr_core.models import PanopticModel, build_model
from pisr_core.structures import PanopticSegmentation, Sample
from pisr_core.weights.files.checkpoint import save_checkpoint

EMPTY = PanopticSegmentation(np.zeros((40, 60), np.int32), ())


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    config = presets.load("scenes-pdl-r18", ["backbone.pretrained=false", "merge.stuff_area=0.0"])
    path = tmp_path_factory.mktemp("run") / "best.safetensors"
    torch.manual_seed(0)
    network = build_model(config, SCENE_CATEGORIES)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics as after training, which are not 0 and 1
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
    save_checkpoint(path, network.state_dict(), config, SCENE_CATEGORIES, {})
    return path


@pytest.fixture(scope="module")
def model(checkpoint):
    return load_model(checkpoint, "cpu")


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def test_load_model_takes_text_and_devices(checkpoint):
    for device in ("cpu", torch.device("cpu")):
        model = load_model(str(checkpoint), device)
        assert isinstance(model, Predictor) and isinstance(model.network, PanopticModel)
        assert not model.network.training and model.device == torch.device("cpu")
    assert model.categories == SCENE_CATEGORIES and model.config.name == "scenes-pdl-r18"
    with pytest.raises(CheckpointError, match="none.safetensors"):
        load_model("none.safetensors", "cpu")
    with pytest.raises(ConfigError, match="cuda:77"):
        load_model(checkpoint, "cuda:77")


def test_all_kinds_of_one_image_give_one_answer(model, pixels, tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    kinds = [path, str(path), Image.open(path), pixels, np.asfortranarray(pixels), tensor]
    results = [model.predict(kind) for kind in kinds]
    assert [result.name for result in results] == ["photo.png"] * 3 + ["image.png"] * 3
    for result in results:
        assert isinstance(result, Prediction) and result.panoptic.ids.shape == (40, 60)
        np.testing.assert_array_equal(result.panoptic.ids, results[0].panoptic.ids)
        np.testing.assert_array_equal(result.image, pixels)


def test_a_list_gives_a_list(model, pixels):
    results = model.predict([pixels, pixels[:, ::-1], Image.fromarray(pixels)])
    assert [result.name for result in results] == ["image.png", "image-2.png", "image-3.png"]
    np.testing.assert_array_equal(results[0].panoptic.ids, results[2].panoptic.ids)
    assert model.predict([]) == []


def test_the_faster_copy_predicts_what_the_network_does(model, pixels):
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    ours = model.predict(pixels).panoptic
    with inference(model.network):
        sample = Sample(torch.from_numpy(pixels).permute(2, 0, 1), None, 1, "image.png")
        plain = predict_sample(model.network, sample, model.device)
    np.testing.assert_array_equal(ours.ids, plain.ids)
    assert [(s.id, s.category) for s in ours.segments] == [(s.id, s.category) for s in plain.segments]
    assert [s.score for s in ours.segments] == pytest.approx([s.score for s in plain.segments], abs=1e-5)
    after = model.network.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.requires_grad for parameter in model.network.parameters())


def test_low_precision_and_compiling_are_passed_on(checkpoint, pixels, monkeypatch):
    seen = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **_: seen.append(self))
    model = load_model(checkpoint, "cpu", precision="bf16", compile=True)
    dtypes = []
    monkeypatch.setattr("pisr_core.api.predictor.predict_sample", lambda fast, *_: dtypes.append(fast.dtype) or EMPTY)
    model.predict(pixels)
    assert len(seen) == 1 and dtypes == [torch.bfloat16]
    with pytest.raises(ConfigError, match="choose one of no, fp16, bf16"):
        load_model(checkpoint, "cpu", precision="int8")


def test_pillow_images_are_turned_and_converted_as_files_are(model, pixels, tmp_path):
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels[:, :, 0]).save(path, exif=exif)
    of_file, of_pillow = model.predict([path, Image.open(path)])
    assert of_file.panoptic.ids.shape == (60, 40)
    np.testing.assert_array_equal(of_file.image, of_pillow.image)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), "array of float32 .*uint8 RGB"),
        (np.zeros((4, 4), np.uint8), r"\(H, W, 3\)"),
        (np.zeros((2, 4, 4, 3), np.uint8), "as a list"),
        (np.zeros((0, 4, 3), np.uint8), "shape"),
        (torch.zeros(3, 4, 4), "tensor of float32"),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), r"\(3, H, W\)"),
        ("nowhere.png", "no such image"),
    ],
)
def test_other_images_are_refused_with_the_cure(model, image, message):
    with pytest.raises(DataError, match=message):
        model.predict(image)
