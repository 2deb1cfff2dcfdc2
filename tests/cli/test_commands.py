import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from pisr_core import presets
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.models import build_model
from pisr_core.weights.files.checkpoint import save_checkpoint

COMMANDS = (["train"], ["eval"], ["predict"], ["presets"], ["data", "prepare"])


@pytest.fixture
def checkpoint(tmp_path):
    config = presets.load(
        "scenes-pdl-r18",
        [
            "backbone.pretrained=false",
            "data.scenes.size=[64, 64]",
            "data.scenes.val_images=2",
            "data.workers=0",
        ],
    )
    path = tmp_path / "runs" / "first" / "best.safetensors"
    torch.manual_seed(0)
    save_checkpoint(path, build_model(config, SCENE_CATEGORIES).state_dict(), config, SCENE_CATEGORIES, {})
    return path


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example(pisr, command):
    code, out, _ = pisr(*command, "--help")
    assert code == 0 and f"Example: pisr {' '.join(command)}" in " ".join(out.split())


def test_help_does_not_wait_for_torch():
    code = "import sys, pisr_cli.app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_eval_of_a_checkpoint(pisr, checkpoint):
    code, out, err = pisr("eval", "--checkpoint", checkpoint, "--device", "cpu", "--json")
    scores = json.loads(out)
    assert code == 0 and "evaluating" in err
    assert set(scores["panoptic"]) == {"all", "things", "stuff", "per_class"}
    assert set(scores["panoptic"]["all"]) == {"pq", "sq", "rq", "n"}
    assert scores["images"] == 2


def test_eval_shows_tables(pisr, checkpoint):
    code, out, _ = pisr("eval", "--checkpoint", checkpoint, "--device", "cpu", "--limit", 1)
    assert code == 0 and "Panoptic quality" in out and "mIoU" in out
    assert all(category.name in out for category in SCENE_CATEGORIES)


def test_eval_of_files(pisr, parts_case):
    case = parts_case / "pq"
    code, out, _ = pisr("eval", "--predictions", case / "pred.json", "--annotations", case / "gt.json", "--json")
    expected = json.loads((case / "expected.json").read_text())
    assert code == 0
    assert json.loads(out)["panoptic"]["all"]["pq"] == pytest.approx(100 * expected["All"]["pq"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eval"], "--checkpoint"),
        (["eval", "--checkpoint", "none.safetensors"], "none.safetensors"),
        (["eval", "--predictions", "p.json", "--annotations", "g.json"], "g.json"),
        (["predict", "photo.jpg", "--out", "out"], "--checkpoint"),
        (["predict", "photo.jpg", "--out", "out", "--device", "cuda:77"], "cuda:77"),
        (["presets", "coco-pdl-r51"], "coco-pdl-r50"),
        (["data", "prepare", "scenes", "--out", "x", "--size", "big"], "512x1024"),
        (["data", "prepare", "coco", "--out", "x"], "scenes"),
        (["eval", "--limit", "-1"], "--limit"),
        (["nonsense"], "nonsense"),
    ],
)
def test_mistakes_exit_with_2_and_one_message(pisr, arguments, message):
    code, out, err = pisr(*arguments)
    assert code == 2 and out == ""
    assert message in err and "Traceback" not in err


def test_predict_uses_the_newest_run_and_says_so(pisr, checkpoint, tmp_path):
    for name in ("a.png", "b.png"):
        Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(tmp_path / name)
    code, out, err = pisr("predict", "a.png", "b.png", "--out", "out", "--json", "--device", "cpu")
    document = json.loads(out)
    assert code == 0 and "runs/first/best.safetensors" in err
    assert [image["image"] for image in document["images"]] == ["a.png", "b.png"]
    assert (tmp_path / "out/panoptic.json").is_file()


def test_predict_reports_bad_files_after_the_good_ones(pisr, checkpoint, tmp_path):
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "bad.png").write_text("no image")
    code, _, err = pisr("predict", "a.png", "bad.png", "--out", "out", "--device", "cpu")
    assert code == 2 and "1 inputs were skipped" in err and "bad.png" in err
    assert (tmp_path / "out/overlay/a.jpg").is_file()


def test_presets(pisr):
    code, out, _ = pisr("presets", "--json")
    assert code == 0 and [preset["name"] for preset in json.loads(out)] == presets.names()
    code, out, _ = pisr("presets")
    assert code == 0 and all(name in out for name in presets.names())
    code, out, _ = pisr("presets", "coco-pdl-r50")
    assert code == 0 and 'name = "coco-pdl-r50"' in out


def test_prepared_scenes_can_be_evaluated(pisr, checkpoint):
    arguments = ("--train", 1, "--val", 2, "--size", "64x64")
    assert pisr("data", "prepare", "scenes", "--out", "set", *arguments)[0] == 0
    base = ("eval", "--checkpoint", checkpoint, "--device", "cpu", "--json")
    drawn = json.loads(pisr(*base)[1])
    read = json.loads(pisr(*base, "--data", "set", "--dataset", "custom")[1])
    assert read["panoptic"] == drawn["panoptic"]
