import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from pisr_core import presets
from pisr_core.data.categories import known_categories
from pisr_core.errors import CheckpointError
from pisr_core.models import build_model
from pisr_core.weights.files.checkpoint import read_checkpoint
from pisr_core.weights.fitting import Unfit
from pisr_core.weights.public.importing import import_weights, load_public_weights

SCENES = known_categories("scenes")
PISR = presets.load("scenes-pdl-r18")
BASE = presets.load("scenes-pdl-r18-baseline")


@pytest.fixture(scope="module")
def base():
    """A base model's weights, as some other program may have trained them."""
    model = build_model(BASE, SCENES)
    return {name: torch.randn_like(t) if t.is_floating_point() else t for name, t in model.state_dict().items()}


def equal(ours, theirs):
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def save_pickle(path, state):
    path.write_bytes(pickle.dumps({"model": {k: v.numpy() for k, v in state.items()}, "__author__": "x"}))


WRITERS = {
    "w.safetensors": lambda path, state: save_file(state, path),
    "w.pth": lambda path, state: torch.save({"model": state, "iteration": 3}, path),
    "w.pt": lambda path, state: torch.save(state, path, _use_new_zipfile_serialization=False),
    "w.pkl": save_pickle,
}


@pytest.mark.parametrize("name", WRITERS)
def test_both_stages_start_from_the_bases_heads(tmp_path, base, name):
    WRITERS[name](tmp_path / name, base)
    report = import_weights(tmp_path / name, PISR, SCENES, tmp_path / "out.safetensors")
    state = read_checkpoint(tmp_path / "out.safetensors").state
    assert equal({n: state[n] for n in base}, base)
    heads = {n.removeprefix("initial_heads."): t for n, t in base.items() if n.startswith("initial_heads.")}
    final = {n.removeprefix("final_heads."): t for n, t in state.items() if n.startswith("final_heads.")}
    assert equal(final, heads)
    assert sorted(report.loaded) == sorted(base)
    assert report.reinitialised == report.unused == report.missing == ()


def test_a_checkpoint_keeps_its_config_and_origin(tmp_path, base):
    save_file(base, tmp_path / "base.safetensors")
    import_weights(tmp_path / "base.safetensors", PISR, SCENES, tmp_path / "out.safetensors")
    checkpoint = read_checkpoint(tmp_path / "out.safetensors")
    assert checkpoint.config == PISR and checkpoint.categories == SCENES
    assert checkpoint.info == {"imported": "base.safetensors", "source": "a checkpoint of pisr"}


def test_the_same_call_gives_the_same_file(tmp_path, base):
    save_file(base, tmp_path / "base.safetensors")
    for out in ("a", "b"):
        import_weights(tmp_path / "base.safetensors", PISR, SCENES, tmp_path / out)
        torch.rand(5)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_everything_that_does_not_fit_is_listed(tmp_path, base):
    state = dict(base)
    del state["semantic_decoder.aspp.branches.0.0.weight"]
    state["extra.thing"] = torch.zeros(2, 3)
    state["initial_heads.semantic.1.weight"] = torch.zeros(7, 64, 1, 1)
    state["initial_heads.semantic.1.bias"] = torch.zeros(7)
    save_file(state, tmp_path / "w.safetensors")
    model = build_model(PISR, SCENES)
    before = model.initial_heads.semantic[1].weight.clone()
    report = load_public_weights(model, tmp_path / "w.safetensors")
    assert set(report.reinitialised) == {
        Unfit("initial_heads.semantic.1.weight", (7, 64, 1, 1), (15, 64, 1, 1)),
        Unfit("initial_heads.semantic.1.bias", (7,), (15,)),
    }
    assert report.unused == (Unfit("extra.thing", (2, 3), None),)
    shape = tuple(base["semantic_decoder.aspp.branches.0.0.weight"].shape)
    assert report.missing == (Unfit("semantic_decoder.aspp.branches.0.0.weight", None, shape),)
    assert torch.equal(model.initial_heads.semantic[1].weight, before)
    assert torch.equal(model.final_heads.semantic[1].weight, before)


def test_trained_final_heads_are_kept(tmp_path):
    trained = build_model(PISR, SCENES).state_dict()
    save_file(trained, tmp_path / "w.safetensors")
    model = build_model(PISR, SCENES)
    report = load_public_weights(model, tmp_path / "w.safetensors")
    assert equal(model.state_dict(), trained) and len(report.loaded) == len(trained)


def test_a_classifiers_weights_start_the_backbone_alone(tmp_path):
    classifier = torchvision.models.resnet18().state_dict()
    torch.save(classifier, tmp_path / "resnet18.pth")
    model = build_model(PISR, SCENES)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = load_public_weights(model, tmp_path / "resnet18.pth")
    for name, tensor in model.state_dict().items():
        expected = classifier[name.removeprefix("backbone.body.")] if name.startswith("backbone.") else before[name]
        assert torch.equal(tensor, expected), name
    assert report.source == "torchvision's or timm's ImageNet ResNet"
    assert [unfit.name for unfit in report.unused] == ["fc.weight", "fc.bias"] and report.missing == ()


def detectron2_resnet(state):
    """The public conversion script's names."""
    renamed = {}
    for name, tensor in state.items():
        name = name if name.startswith("layer") else f"stem.{name}"
        for stage in range(4, 0, -1):
            name = name.replace(f"layer{stage}.", f"res{stage + 1}.").replace(f"bn{stage}.", f"conv{stage}.norm.")
        renamed[name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")] = tensor
    return renamed


def test_detectron2s_classifier_too(tmp_path):
    classifier = torchvision.models.resnet18().state_dict()
    save_pickle(tmp_path / "R-18.pkl", detectron2_resnet(classifier))
    model = build_model(PISR, SCENES)
    report = load_public_weights(model, tmp_path / "R-18.pkl")
    assert report.source == "detectron2's ImageNet ResNet" and report.missing == ()
    body = model.backbone.body.state_dict()
    assert equal(body, {name: classifier[name] for name in body})


def test_backbone_only_takes_nothing_else(tmp_path, base):
    save_file(base, tmp_path / "w.safetensors")
    model = build_model(PISR, SCENES)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = load_public_weights(model, tmp_path / "w.safetensors", backbone_only=True)
    assert all(name.startswith("backbone.") for name in report.loaded) and report.unused == ()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, (base if name.startswith("backbone.") else before)[name]), name


def test_another_architecture_is_refused(tmp_path, maskformer_case):
    with pytest.raises(CheckpointError, match="it is MaskFormer, but .* builds a PanopticDeepLab"):
        load_public_weights(build_model(PISR, SCENES), maskformer_case / "model.pkl")


def test_other_widths_are_refused(panoptic_deeplab_case):
    with pytest.raises(CheckpointError, match="of another backbone, width or kind of convolution"):
        load_public_weights(build_model(PISR, SCENES), panoptic_deeplab_case / "model.pkl")


@pytest.mark.parametrize("depth", [34, 50])
def test_a_deeper_backbone_is_refused(tmp_path, depth):
    torch.save(getattr(torchvision.models, f"resnet{depth}")().state_dict(), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="of another backbone"):
        load_public_weights(build_model(PISR, SCENES), tmp_path / "w.pth")


class Attack:
    def __init__(self, victim):
        self.victim = str(victim)

    def __reduce__(self):
        return (open, (self.victim, "w"))


@pytest.mark.parametrize("name", ["w.pth", "w.pkl"])
def test_nothing_is_executed(tmp_path, name):
    victim, path = tmp_path / "written", tmp_path / name
    content = {"model": {"initial_heads.a": Attack(victim)}}
    if name.endswith("pkl"):
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(CheckpointError, match="objects that are not read: _?io.open"):
        load_public_weights(build_model(PISR, SCENES), path)
    assert not victim.exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.zip", b"", "not a readable file of torch or pickle"),
        ("w.pth", b"", "not a readable file of torch or pickle"),
        ("w.pth", b"junk", "not a readable file of torch or pickle"),
        ("w.safetensors", b"junk", "not a whole safetensors file"),
        ("w.pkl", pickle.dumps({"model": {}}), "no tensors were found"),
        ("w.pkl", pickle.dumps({"model": {"conv9": np.zeros(1)}}), "named as in none of the known kinds"),
    ],
)
def test_foreign_files_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_public_weights(build_model(PISR, SCENES), tmp_path / name)


def test_missing_file_and_table(tmp_path):
    model = build_model(PISR, SCENES)
    with pytest.raises(CheckpointError, match="no such file"):
        load_public_weights(model, tmp_path / "none.pth")
    torch.save({"epoch": 3, "weights": [torch.zeros(1)]}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"no tensors were found in it, but epoch \(int\), weights \(list\)"):
        load_public_weights(model, tmp_path / "w.pth")


def test_other_presets_classes(tmp_path, base):
    """Fine-tuning on other data: all but the class predictor is taken."""
    save_file(base, tmp_path / "w.safetensors")
    cityscapes = known_categories("cityscapes")
    report = load_public_weights(build_model(replace(PISR, name="other"), cityscapes), tmp_path / "w.safetensors")
    assert {unfit.name for unfit in report.reinitialised} == {
        "initial_heads.semantic.1.weight",
        "initial_heads.semantic.1.bias",
    }
