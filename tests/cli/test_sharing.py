import json

import pytest
import torch
from fake_hub import TOKEN
from PIL import Image

from pisr_core import presets
from pisr_core.data.categories import known_categories
from pisr_core.models import build_model
from pisr_core.weights.files.checkpoint import read_checkpoint, save_checkpoint
from pisr_core.weights.find import load_checkpoint
from pisr_core.weights.hub.fetching import HubName, fetch_model

CLASSES = known_categories("scenes")
SMALL = ["backbone.pretrained=false", "data.scenes.size=[64, 96]", "data.eval_short_side=64", "data.workers=0"]
SCORES = {
    "panoptic": {
        "all": {"pq": 41.27, "sq": 80.0, "rq": 50.0},
        "things": {"pq": 30.0, "sq": 75.0, "rq": 40.0},
        "stuff": {"pq": None, "sq": None, "rq": None},
    },
    "semantic": {"miou": 55.55},
}


@pytest.fixture
def run(tmp_path):
    """A run's folder with a checkpoint of step 20, and evaluations at steps 10 and 20."""
    config = presets.load("scenes-pdl-r18", SMALL)
    folder = tmp_path / "runs" / "first"
    state = build_model(config, CLASSES).state_dict()
    save_checkpoint(folder / "best.safetensors", state, config, CLASSES, {"step": 20, "evaluated_step": 20})
    other = {**SCORES, "semantic": {"miou": 1.0}}
    lines = [{"step": 10, "evaluation": other}, {"step": 20, "loss": 1.0}, {"step": 20, "evaluation": SCORES}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_exported_pushed_and_read_back_equal_to_the_bit(pisr, run, tmp_path, hub, monkeypatch):
    code, out, err = pisr("weights", "export", run / "best.safetensors", "--out", "shared", "--title", "Mine", "--json")
    assert code == 0 and json.loads(out)["scores"] == SCORES and "pisr weights push shared USER/NAME" in err
    names = {"README.md", "config.json", "example.jpg", "model.safetensors", "preprocessor_config.json"}
    assert {path.name for path in (tmp_path / "shared").iterdir()} == names
    card = (tmp_path / "shared" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: pisr\n") and "\n# Mine\n" in card and "license:" in card
    assert "| all | 41.3 | 80.0 | 50.0 |" in card and "| stuff | – | – | – |" in card and "mIoU 55.5" in card
    assert "preset `scenes-pdl-r18`" in card and "Things: person, tree" in card and "(example.jpg)" in card
    assert Image.open(tmp_path / "shared" / "example.jpg").size == (96, 64)
    settings = json.loads((tmp_path / "shared" / "config.json").read_text())
    assert settings["id2label"]["0"] == CLASSES[0].name and settings["architectures"] == ["PanopticDeepLab"]

    code, _, err = pisr("weights", "push", "shared", "me/mine")
    assert code == 2 and "me/mine: shared cannot be uploaded" in err and "hf auth login" in err
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    code, _, err = pisr("weights", "push", "shared", "me/mine")
    assert code == 0 and f"{hub.url}/me/mine" in err
    assert set(hub.models["me/mine"]["main"]) == names

    original, back = read_checkpoint(run / "best.safetensors"), load_checkpoint("me/mine")
    assert (back.config, back.categories, back.info) == (original.config, original.categories, original.info)
    assert back.state.keys() == original.state.keys()
    assert all(torch.equal(back.state[name], tensor) for name, tensor in original.state.items())
    folder = fetch_model(HubName("me/mine"), lambda done, total: None)
    assert (folder / "model.safetensors").read_bytes() == (tmp_path / "shared" / "model.safetensors").read_bytes()


def test_scores_of_an_evaluation_of_its_own(pisr, run, tmp_path):
    (tmp_path / "scores.json").write_text(json.dumps({**SCORES, "semantic": {"miou": 7.0}, "images": 3}))
    command = ("weights", "export", run / "best.safetensors", "--out", "x", "--scores", "scores.json")
    code, out, _ = pisr(*command, "--json")
    assert code == 0 and json.loads(out)["scores"]["semantic"] == {"miou": 7.0}
    (tmp_path / "scores.json").write_text("[]")
    code, _, err = pisr(*command)
    assert code == 2 and "scores.json: is not what `pisr eval --json` prints" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("push", "nothing", "me/mine"), "nothing: holds no model.safetensors of ours"),
        (("push", ".", "mine"), "mine: a model on the hub is called USER/NAME"),
        (("export", "none.safetensors", "--out", "x"), "none.safetensors: no such file"),
    ],
)
def test_mistakes(pisr, arguments, message, hub):
    code, out, err = pisr("weights", *arguments)
    assert code == 2 and out == "" and message in err and hub.requests == []


def test_predict_without_a_model_says_both_ways_on(pisr):
    code, _, err = pisr("predict", "photo.jpg", "--out", "x")
    assert code == 2 and "--checkpoint eomt-s-coco" in err and "pisr train --preset scenes-pdl-r18" in err
