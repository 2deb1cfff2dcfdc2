"""Models of the hub through the commands: a tiny EoMT behind a fake hub."""

import json

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from tiny_networks import PROCESSORS, TINY

from pisr_cli.terminal import console

CLASSES = "id,name,isthing\n1,person,1\n2,sky,0\n3,car,1\n4,road,0\n"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The files of a network that is sure of something."""
    torch.manual_seed(0)
    network, folder = TINY["eomt"]().eval(), tmp_path_factory.mktemp("eomt")
    torch.nn.init.normal_(network.class_predictor.weight, std=4.0)
    network.save_pretrained(folder)
    PROCESSORS["eomt"]().save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def place(tmp_path, published):
    """The folder of a test with a photo, the classes and the network's own folder."""
    noise = np.random.default_rng(0).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((96, 72), Image.Resampling.BICUBIC).save(tmp_path / "photo.png")
    (tmp_path / "classes.csv").write_text(CLASSES)
    (tmp_path / "local").mkdir()
    for name, content in published.items():
        (tmp_path / "local" / name).write_bytes(content)
    return tmp_path


def predict(pisr, model, *more):
    return pisr("predict", "photo.png", "--checkpoint", model, "--out", "out", "--device", "cpu", *more)


def written(place):
    return json.loads((place / "out" / "panoptic.json").read_text()), (place / "out/panoptic/photo.png").read_bytes()


def test_a_name_of_the_hub_predicts_evaluates_and_imports_as_its_folder_does(pisr, place, published, hub):
    hub.add("tiny/eomt", published)
    code, _, err = predict(pisr, "local", "--categories", "classes.csv")
    assert code == 0, err
    expected = written(place)
    assert [each["name"] for each in expected[0]["categories"]] == ["person", "sky", "car", "road"]
    code, out, err = predict(pisr, "tiny/eomt", "--categories", "classes.csv", "--json")
    assert code == 0 and json.loads(out)["checkpoint"] == "tiny/eomt" and "tiny/eomt:" in err  # the bar
    assert written(place) == expected
    code, _, err = pisr("weights", "import", "tiny/eomt", "--categories", "classes.csv", "--out", "mine.safetensors")
    assert code == 0 and "mine.safetensors: eomt, 4 classes" in err
    assert predict(pisr, "mine.safetensors")[0] == 0 and written(place) == expected
    code, out, _ = pisr(
        "flops", "--checkpoint", "tiny/eomt", "--categories", "classes.csv", "--size", "64x64", "--json"
    )
    assert code == 0 and json.loads(out)["models"][0]["checkpoint"] == "tiny/eomt"


def test_a_base_has_no_k_to_vary_whatever_it_says_of_its_classes(pisr, place):
    code, _, err = pisr("ablate-k", "--checkpoint", "local", "--device", "cpu")
    assert code == 2 and "reads no instances" in err


def test_public_models_are_listed_with_the_preset_that_starts_from_them(pisr, monkeypatch):
    monkeypatch.setattr(console.results, "_width", 200)
    code, out, _ = pisr("weights", "list")
    line = next(line for line in out.splitlines() if "mask2former-swint-coco" in line)
    assert code == 0 and "coco-mask2former-swint" in line.split("PQ")[1]


def test_fetched_once_it_needs_no_network(pisr, place, published, hub, monkeypatch):
    hub.add("tiny/eomt", published)
    code, out, err = pisr("weights", "download", "tiny/eomt", "--json")
    assert code == 0 and json.loads(out)["name"] == "tiny/eomt" and "--checkpoint tiny/eomt" in err
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    assert predict(pisr, "tiny/eomt", "--categories", "classes.csv")[0] == 0 and hub.requests == []
    assert pisr("weights", "download", "tiny/eomt", "--out", "copy")[0] == 0
    assert {path.name for path in (place / "copy").iterdir()} == {path.name for path in (place / "local").iterdir()}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("tiny/eomt", "Give --categories FILE"),
        ("no/such", "no such file or folder here, and no such model on"),
        ("tiny/unfinished", "has no preprocessor_config.json"),
        ("tiny/other", "describes a 'bert'"),
        ("tiny/two-sizes", "by the config (image_size and patch_size)"),
        ("tiny/empty", "has neither model.safetensors nor pytorch_model.bin"),
    ],
)
def test_what_cannot_be_used_is_one_message(pisr, place, published, hub, model, message):
    config = json.loads(published["config.json"])
    hub.add("tiny/eomt", published)
    hub.add("tiny/unfinished", {name: content for name, content in published.items() if "preprocessor" not in name})
    hub.add("tiny/other", {**published, "config.json": json.dumps({**config, "model_type": "bert"}).encode()})
    hub.add("tiny/two-sizes", {**published, "config.json": json.dumps({**config, "image_size": 128}).encode()})
    hub.add("tiny/empty", {"config.json": b"{}"})
    code, out, err = predict(pisr, model)
    assert code == 2 and out == "" and message in err and "Traceback" not in err
    assert not (place / "out").exists()
