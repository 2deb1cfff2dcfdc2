from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fake_hub import TOKEN
from huggingface_hub import constants

from pisr_core import presets
from pisr_core.data.categories import known_categories
from pisr_core.errors import CheckpointError
from pisr_core.models import build_model
from pisr_core.training.finetune import load_fitting_weights
from pisr_core.weights import find
from pisr_core.weights.files.checkpoint import Checkpoint, save_checkpoint
from pisr_core.weights.find import find_weights, load_checkpoint
from pisr_core.weights.public.sources import SOURCES, WeightsSource

CLASSES = known_categories("scenes")
CONFIG = presets.load("scenes-pdl-r18", ["backbone.pretrained=false"])
TINY = Checkpoint(CONFIG, CLASSES, {"weight": torch.arange(4.0)}, {"step": 7})


@pytest.fixture
def folders(monkeypatch):
    """Stands for the reader of networks of `transformers`; notes what it was given."""
    given = []

    def read(folder, categories, base, to_predict):
        given.append((folder, categories, base))
        return TINY

    monkeypatch.setattr(find, "read_hub_folder", read)
    return given


def written(path):
    save_checkpoint(path, TINY.state, TINY.config, TINY.categories, TINY.info)
    return path


def same(one, other):
    assert (one.config, one.categories, one.info) == (other.config, other.categories, other.info)
    assert one.state.keys() == other.state.keys()
    assert all(torch.equal(one.state[name], other.state[name]) for name in one.state)


def test_a_file_of_ours(tmp_path):
    same(load_checkpoint(written(tmp_path / "best.safetensors")), TINY)


def test_a_folder_and_a_model_of_the_hub_that_hold_a_file_of_ours(tmp_path, hub):
    path = written(tmp_path / "shared" / "model.safetensors")
    same(load_checkpoint(tmp_path / "shared"), TINY)
    hub.add("me/shared", {"model.safetensors": path.read_bytes(), "config.json": b"{}"})
    same(load_checkpoint("me/shared"), TINY)


def test_a_file_here_comes_before_the_hub(tmp_path, hub, monkeypatch):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "me" / "shared")
    same(load_checkpoint("me/shared"), TINY)
    assert hub.requests == []


def test_folders_of_transformers_are_called_as_the_user_called_them(tmp_path, folders, hub):
    files = {"config.json": b"{}", "preprocessor_config.json": b"{}", "model.safetensors": b"no file of ours"}
    hub.add("me/theirs", files)
    (tmp_path / "classes.csv").write_text("id,name,isthing\n3,cat,1\n5,sky,0\n")
    found = load_checkpoint("me/theirs", tmp_path / "classes.csv")
    assert found.config == replace(TINY.config, name="theirs") and found.info["name"] == "me/theirs"
    ((folder, categories, base),) = folders
    assert sorted(path.name for path in folder.iterdir()) == sorted(files) and base is None
    assert [category.name for category in categories] == ["cat", "sky"]


def test_a_known_difference_comes_with_its_gated_base(folders, hub, monkeypatch):
    source = SOURCES["eomt-s-dinov3-coco"]
    assert source.base == "facebook/dinov3-vits16-pretrain-lvd1689m"
    hub.add(source.hub, {"pytorch_model.bin": b"difference"})
    hub.add(source.base, {"config.json": b"{}", "model.safetensors": b"base"})
    hub.gated.add(source.base)
    with pytest.raises(CheckpointError, match=f"{source.base}: the licence .* must be accepted first.*hf auth login"):
        load_checkpoint("eomt-s-dinov3-coco")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    load_checkpoint("eomt-s-dinov3-coco")
    ((folder, _, base),) = folders
    assert (folder / "pytorch_model.bin").read_bytes() == b"difference"
    assert (base / "model.safetensors").read_bytes() == b"base"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.safetensors", "none.safetensors: no such file. Name a checkpoint that `pisr train` wrote"),
        ("runs/none.safetensors", "no such file"),
        ("eomt-s-coca", "Did you mean eomt-s-coco"),
        ("a/b/c", "no such file"),
        ("pfpn-r50-coco", "can only start a training.*pisr train --preset coco-pfpn-r50 --weights pfpn-r50-coco"),
        ("r50s-imagenet", "can only start a training"),
    ],
)
def test_what_cannot_be_loaded_is_not_asked_for(name, message, hub):
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(name)
    assert hub.requests == []


def test_offline_a_public_file_says_where_it_belongs(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="pdl-r50-coco: not in the cache .*pisr-cache.*put https://dl.fbai"):
        find_weights("pdl-r50-coco")


def test_a_public_file_becomes_its_base_model(hub, tmp_path, monkeypatch):
    """A file of a base model in our own names stands for one of the zoo's."""
    config = presets.load("scenes-pdl-r18", ["backbone.pretrained=false", "relation.name=none"])
    base = build_model(config, CLASSES).state_dict()
    (tmp_path / "pisr-cache").mkdir()
    torch.save(base, tmp_path / "pisr-cache" / "zoo.pth")
    zoo = WeightsSource("https://example.org/zoo.pth", "", "scenes-pdl-r18", "", "", "")
    monkeypatch.setitem(SOURCES, "zoo", zoo)
    found = load_checkpoint("zoo")
    assert found.config == replace(config, name="zoo") and found.categories == CLASSES
    assert found.info["name"] == "zoo" and found.info["imported"] == "zoo.pth"
    assert all(torch.equal(found.state[name], base[name]) for name in base)
    lacking = {name: tensor for name, tensor in base.items() if not name.endswith("offset.1.bias")}
    torch.save(lacking, tmp_path / "pisr-cache" / "zoo.pth")
    with pytest.raises(CheckpointError, match="1 of the network's tensors are not in it"):
        load_checkpoint("zoo")
    load_checkpoint("zoo", to_predict=False)


def test_a_model_starts_from_weights_by_name(hub, tmp_path):
    """With its classes by their names, whoever keeps it."""
    base = presets.load("scenes-pdl-r18", ["backbone.pretrained=false", "relation.name=none"])
    reordered = (CLASSES[1], CLASSES[0], *CLASSES[2:])
    given = build_model(base, reordered)
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, given.state_dict(), base, reordered, {})
    hub.add("me/base", {"model.safetensors": path.read_bytes()})
    model = build_model(CONFIG, CLASSES)
    report = load_fitting_weights(model, Path("me/base"))
    ours, theirs = (each.state_dict()["initial_heads.semantic.1.weight"] for each in (model, given))
    assert torch.equal(ours[0], theirs[1]) and torch.equal(ours[1], theirs[0]) and torch.equal(ours[2:], theirs[2:])
    assert torch.equal(model.state_dict()["final_heads.semantic.1.weight"], ours)
    assert report.class_match.moved and all(name.startswith("relation.") for name in report.kept)
