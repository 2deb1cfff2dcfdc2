import json

import numpy as np
import pytest
import torch
from PIL import Image

from pisr_cli.app import main
from pisr_core import presets
from pisr_core.data.pictures.video import written_video
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.models import build_model
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
