"""What needs no network starts without torch, and prediction without what it does not use."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from pisr_core import presets
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.models import build_model
from pisr_core.weights.files.checkpoint import save_checkpoint

REFUSED = """
import sys

refused = set(sys.argv.pop(1).split(","))

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if refused & {name, name.partition(".")[0]}:
            raise ImportError(f"{name} is not needed here")

sys.meta_path.insert(0, Refuse())
from pisr_cli.app import main
main(sys.argv[1:])
"""


NETWORKS = ("torch", "torchvision", "timm", "accelerate")


def run_without(packages, *arguments):
    command = [sys.executable, "-c", REFUSED, ",".join(packages), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_without_torch(*arguments):
    return run_without(NETWORKS, *arguments)


@pytest.fixture
def dataset(tmp_path):
    """Two images of 4×6 pixels: a road and a car."""
    ids = np.where(np.arange(6) < 3, 1, 2) * np.ones((4, 1), np.int64)
    png = np.stack([ids, ids * 0, ids * 0], axis=-1).astype(np.uint8)
    for folder in ("val", "annotations/panoptic_val"):
        (tmp_path / folder).mkdir(parents=True)
        for name in "ab":
            Image.fromarray(png).save(tmp_path / folder / f"{name}.png")
    segments = [{"id": i, "category_id": i, "area": 12, "bbox": [3 * i - 3, 0, 3, 4], "iscrowd": 0} for i in (1, 2)]
    names = [f"{name}.png" for name in "ab"]
    content = {
        "images": [{"id": i, "file_name": name, "height": 4, "width": 6} for i, name in enumerate(names)],
        "annotations": [{"image_id": i, "file_name": n, "segments_info": segments} for i, n in enumerate(names)],
        "categories": [{"id": 1, "name": "road", "isthing": 0}, {"id": 2, "name": "car", "isthing": 1}],
    }
    (tmp_path / "annotations/panoptic_val.json").write_text(json.dumps(content))
    return tmp_path


def test_scoring_files(dataset):
    path = dataset / "annotations/panoptic_val.json"
    files = ("eval", "--predictions", path, "--annotations", path)
    report = ("--images", dataset / "val", "--out", dataset / "scores", "--json")
    scores = json.loads(run_without_torch(*files, *report))
    assert scores["panoptic"]["all"]["pq"] == 100 and scores["semantic"]["miou"] == 100


def test_checking_data(dataset):
    assert json.loads(run_without_torch("data", "check", dataset, "--json"))["images"] == 2


def test_converting_data(dataset):
    instances = {
        "images": [{"id": 1, "file_name": "a.png", "height": 4, "width": 6}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 2, "segmentation": [[0, 0, 3, 0, 3, 4, 0, 4]]}],
        "categories": [{"id": 2, "name": "car"}],
    }
    (dataset / "instances.json").write_text(json.dumps(instances))
    out = dataset / "converted.json"
    run_without_torch("data", "convert", "instances", dataset / "instances.json", "--out", out)
    assert json.loads(out.read_text())["annotations"][0]["segments_info"][0]["area"] == 12


@pytest.mark.parametrize("arguments", [("presets",), ("presets", "scenes-pdl-r18"), ("weights", "list")])
def test_presets_and_weights(arguments):
    assert "pdl" in run_without_torch(*arguments) or arguments[0] == "weights"


def test_prediction_without_what_it_does_not_use(tmp_path):
    config = presets.load("scenes-pdl-r18", ["backbone.pretrained=false", "relation.name=none"])
    checkpoint = tmp_path / "network.safetensors"
    save_checkpoint(checkpoint, build_model(config, SCENE_CATEGORIES).state_dict(), config, SCENE_CATEGORIES, {})
    Image.new("RGB", (64, 64)).save(tmp_path / "black.png")
    unused = ("scipy", "transformers", "accelerate", "tensorboard", "matplotlib", "pycocotools")
    annotation_tools, training = "pisr_core.data.annotation_tools", "pisr_core.training"
    options = ("--checkpoint", checkpoint, "--device", "cpu", "--out", tmp_path / "out", "--json")
    report = run_without((*unused, annotation_tools, training), "predict", tmp_path / "black.png", *options)
    assert len(json.loads(report)["images"]) == 1


def test_a_command_does_not_import_the_others():
    others = (f"pisr_cli.{name}" for name in ("train", "eval", "predict", "data", "weights", "study", "serve"))
    assert json.loads(run_without((*NETWORKS, "numpy", *others), "presets", "--json"))
