import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pisr_cli.app import main
from pisr_cli.terminal import options
from pisr_core import presets
from pisr_core.data.coco.files import read_panoptic_png
from pisr_core.data.pictures.image_tensors import read_image
from pisr_core.data.pictures.video import written_video
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.inference.fast_model import FastModel
from pisr_core.inference.load import load_model
from pisr_core.inference.mode import inference
from pisr_core.inference.multi_scale import MultiScaleModel
from pisr_core.inference.predict import predict_sample
from pisr_core.models import build_model
from pisr_core.structures import Sample
from pisr_core.weights.files.checkpoint import save_checkpoint


@pytest.fixture
def predict(capsys, tmp_path, monkeypatch):
    """Runs `pisr predict` beside a checkpoint, an image and a film, and gives (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    config = presets.load("scenes-pdl-r18", ["backbone.pretrained=false", "data.scenes.size=[64, 64]"])
    torch.manual_seed(0)
    model = build_model(config, SCENE_CATEGORIES)
    save_checkpoint(tmp_path / "model.safetensors", model.state_dict(), config, SCENE_CATEGORIES, {})
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3)).astype(np.uint8)
    Image.fromarray(images[0]).save("photo.png")
    with written_video(tmp_path / "clip.mp4", 12.0) as add:
        for image in images:
            add(image)

    def run(*arguments):
        fixed = ("--checkpoint", "model.safetensors", "--device", "cpu", "--out", "out")
        with pytest.raises(SystemExit) as exit_:
            main(["predict", *arguments, *fixed])
        captured = capsys.readouterr()
        return exit_.value.code or 0, captured.out, captured.err

    return run


def test_images_and_films_in_batches(predict, tmp_path):
    code, out, err = predict("photo.png", "clip.mp4", "--batch-size", "2", "--json")
    names = [image["panoptic"] for image in json.loads(out)["images"]]
    assert code == 0 and "4 images" in err
    assert names == [f"out/panoptic/{name}.png" for name in ("photo", "clip_000001", "clip_000002", "clip_000003")]
    assert {path.name for path in (tmp_path / "out/overlay").iterdir()} == {"photo.jpg", "clip.mp4"}


@pytest.mark.parametrize(("batch_size", "kept"), [(1, True), (3, False)])
def test_memory_is_kept_between_passes_unless_they_are_large(predict, monkeypatch, batch_size, kept):
    asked = []
    monkeypatch.setattr(options, "keep_network_memory", asked.append)
    monkeypatch.setattr(options, "PIXELS_KEPT_FOR", 2 * 64 * 64)
    assert predict("clip.mp4", "--batch-size", str(batch_size))[0] == 0
    assert asked == [kept] * (3 // batch_size)


@pytest.mark.parametrize(
    ("name", "file"),
    [("labelme", "labelme/photo.json"), ("cvat", "cvat.xml"), ("yolo", "yolo/labels/train/photo.txt")],
)
def test_predictions_for_an_annotation_tool(predict, tmp_path, name, file):
    code, out, err = predict("photo.png", "--format", name, "--json")
    segments = json.loads(out)["images"][0]["segments"]
    lines = [line for line in err.splitlines() if f"segments for {name} in out" in line]
    assert code == 0 and len(lines) == 1 and (tmp_path / "out" / file).is_file()
    if name == "labelme":
        content = json.loads((tmp_path / "out" / file).read_text())
        assert content["imagePath"] == "../../photo.png" and len(content["shapes"]) == segments


def test_low_precision(predict):
    assert predict("photo.png", "--precision", "bf16")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--precision", "int8"), "choose one of no, fp16, bf16"),
        (("--batch-size", "0"), "--batch-size"),
        (("--format", "voc"), "labelme, cvat, label-studio, coco-instances, yolo"),
    ],
)
def test_mistakes_are_named(predict, arguments, message):
    code, out, err = predict("photo.png", *arguments)
    assert code == 2 and out == "" and message in err and "Traceback" not in err


def test_a_broken_film_is_named_after_the_rest(predict, tmp_path):
    (tmp_path / "broken.mov").write_bytes(b"no film")
    code, _, err = predict("broken.mov", "photo.png")
    assert code == 2 and "broken.mov: cannot be read as a video" in err
    assert (tmp_path / "out/overlay/photo.jpg").is_file()


def segments_of(tmp_path):
    content = json.loads((tmp_path / "out/panoptic.json").read_text())
    isthing = {category["id"]: category["isthing"] for category in content["categories"]}
    found = content["annotations"][0]["segments_info"]
    return [isthing[segment["category_id"]] for segment in found]


def test_settings_of_prediction_can_be_changed(predict, tmp_path):
    """A random network sees stuff; none of it is the whole image, nor is any peak sure."""
    assert predict("photo.png")[0] == 0 and 0 in segments_of(tmp_path)
    settings = ("merge.stuff_area=0.999", "merge.center_threshold=1")
    assert predict("photo.png", *(f"--set={setting}" for setting in settings))[0] == 0
    assert segments_of(tmp_path) == []


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("merge.center_treshold=1", "did you mean merge.center_threshold?"),
        ("merge.stuff_area=2", "merge.stuff_area = 2"),
        ("merge.nms_kernel=big", "a whole number is needed"),
        ("train.lr=1", "--set train.lr: belongs to training"),
        ("relation={name='none'}", "--set relation.name: belongs to training"),
        ("merge.top_k", "key=value"),
    ],
)
def test_other_settings_are_refused_by_name(predict, tmp_path, setting, message):
    code, out, err = predict("photo.png", "--set", setting)
    assert code == 2 and message in " ".join(err.split()) and "Traceback" not in err
    assert ("merge.center_threshold, merge.nms_kernel" in " ".join(err.split())) == ("belongs to training" in message)
    assert not (tmp_path / "out").exists()


def test_several_views_are_seen_as_in_an_evaluation(predict, tmp_path):
    """By the same model: its maps are those that `eval` would score."""
    assert predict("photo.png", "--multi-scale", "1,2", "--flip")[0] == 0
    network = load_model("model.safetensors", torch.device("cpu"))
    views = MultiScaleModel(FastModel(network), (1.0, 2.0), flip=True)
    image = Sample(read_image(Path("photo.png")), None, 1, "photo.png")
    with inference(views):
        expected = predict_sample(views, image, torch.device("cpu"))
    assert (read_panoptic_png(tmp_path / "out/panoptic/photo.png") == expected.ids).all()
    code, _, err = predict("photo.png", "--multi-scale", "half")
    assert code == 2 and "0.5,1,1.5" in err


def test_large_images_are_seen_in_tiles(predict, tmp_path):
    code, out, err = predict("photo.png", "clip.mp4", "--tile", "32", "--json")
    assert code == 0 and len(json.loads(out)["images"]) == 4
    assert read_panoptic_png(tmp_path / "out/panoptic/photo.png").shape == (48, 64)
    content = json.loads((tmp_path / "out/panoptic.json").read_text())
    assert [(image["height"], image["width"]) for image in content["images"]] == [(48, 64)] * 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tile", "8"], "smaller than the network's stride"),
        (["--tile", "64", "--overlap", "33"], "from 0 to half of a tile, which is 32 pixels of 64"),
        (["--overlap", "16"], "give --tile too"),
    ],
)
def test_tiles_that_cannot_be_are_refused(predict, tmp_path, arguments, message):
    code, out, err = predict("photo.png", *arguments)
    assert code == 2 and message in " ".join(err.split()) and not (tmp_path / "out").exists()
