"""Weights into models of other classes: matched by name, and another network is refused by either way in."""

from dataclasses import replace

import pytest
import torch

from pisr_core import presets
from pisr_core.class_axes import ClassAxis
from pisr_core.data.categories import known_categories
from pisr_core.errors import CheckpointError
from pisr_core.models import MODELS, build_model
from pisr_core.models.queries.universal.model import QueryHeads
from pisr_core.structures import Category
from pisr_core.training.finetune import load_fitting_weights
from pisr_core.weights.files.checkpoint import save_checkpoint
from pisr_core.weights.fitting import ClassMatch
from pisr_core.weights.public.importing import load_public_weights

SCENES = known_categories("scenes")
PISR = presets.load("scenes-pdl-r18")

BOTH_WAYS_IN = pytest.mark.parametrize("load", [load_fitting_weights, load_public_weights])


def categories(*names):
    """Classes of these names; capitals are things."""
    return tuple(Category(i, name, name.isupper()) for i, name in enumerate(names, start=1))


def drawn(config, classes, seed=0):
    """A model whose every number is another one."""
    torch.manual_seed(seed)
    model = build_model(config, classes)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.normal_()
    return model


def saved(path, config, classes):
    model = drawn(config, classes)
    save_checkpoint(path, model.state_dict(), config, classes, {})
    return model.state_dict()


@BOTH_WAYS_IN
def test_reordered_classes_take_their_rows_along(tmp_path, load):
    old = saved(tmp_path / "w.safetensors", PISR, SCENES)
    model = drawn(PISR, SCENES[::-1], seed=1)
    report = load(model, tmp_path / "w.safetensors")
    new = model.state_dict()
    for name in ("initial_heads.semantic.1.weight", "final_heads.semantic.1.bias"):
        assert torch.equal(new[name], old[name].flip(0))
    n, mixing = len(SCENES), old["relation.attention.g_p.weight"]
    assert torch.equal(new["relation.attention.g_p.weight"][:n, :n], mixing[:n, :n].flip(0, 1))
    assert torch.equal(new["relation.attention.g_p.weight"][n:, :n], mixing[n:, :n].flip(1))
    assert torch.equal(new["relation.attention.g_p.weight"][n:, n:], mixing[n:, n:])
    names = tuple(category.name for category in SCENES)
    assert report.class_match == ClassMatch(names[::-1], (), (), True) and report.kept == ()


@BOTH_WAYS_IN
def test_renamed_classes_start_anew_and_all_are_listed(tmp_path, load, caplog):
    old = saved(tmp_path / "w.safetensors", PISR, categories("sky", "road", "CAR"))
    model = drawn(PISR, categories("AUTO", "sky", "road"), seed=1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with caplog.at_level("INFO", logger="pisr_core"):
        report = load(model, tmp_path / "w.safetensors")
    name = "initial_heads.semantic.1.weight"
    new = model.state_dict()
    assert torch.equal(new[name], torch.stack((before[name][0], old[name][0], old[name][1])))
    assert report.class_match == ClassMatch(("sky", "road"), ("AUTO",), ("CAR",), True)
    assert caplog.messages[-3:] == [
        "classes taken by name (2): sky, road",
        "classes that start anew (1): AUTO",
        "classes of the file that are not used (1): CAR",
    ]


def test_the_same_classes_are_not_worth_a_line(tmp_path, caplog):
    saved(tmp_path / "w.safetensors", PISR, SCENES)
    with caplog.at_level("INFO", logger="pisr_core"):
        load_fitting_weights(drawn(PISR, SCENES, seed=1), tmp_path / "w.safetensors")
    (line,) = caplog.messages
    assert line.endswith("a checkpoint of pisr, 395 of 395 tensors loaded")


SMALL = {
    "panoptic_deeplab": "scenes-pdl-r18",
    "panoptic_fpn": "custom-pfpn-r18",
    "maskformer": "custom-maskformer-r18",
    "upernet": "custom-upernet-r18",
}


OF_TRANSFORMERS = {"mask2former", "eomt", "videomt", "hf_maskformer"}
"""They share their heads, see below."""


def test_the_heads_of_transformers_say_it_too():
    heads = QueryHeads(torch.nn.Linear(2, 4), torch.nn.Identity())
    axes = heads.class_axes(("a", "b", "C"))
    assert axes.keys() == {"class_predictor.weight", "class_predictor.bias"} == heads.state_dict().keys()
    assert axes["class_predictor.bias"] == (ClassAxis(0, ("a", "b", "C")),)


@pytest.mark.parametrize("relation", ["pisr", "concat", "product", "ocr"])
@pytest.mark.parametrize("architecture", SMALL)
def test_every_tensor_that_grows_with_the_classes_says_whose_its_entries_are(architecture, relation):
    assert SMALL.keys() | OF_TRANSFORMERS == MODELS.keys(), "a new architecture needs a preset here"
    config = presets.load(SMALL[architecture], [f"relation.name={relation}", "backbone.pretrained=false"])
    few, many = categories("a", "b", "C", "D"), categories("a", "b", "c", "C", "D", "E")
    with torch.device("meta"):
        small, large = (build_model(config, classes).state_dict() for classes in (few, many))
        axes = build_model(config, few).class_axes(few)
    grown = {
        name: {d for d, (one, two) in enumerate(zip(small[name].shape, large[name].shape, strict=True)) if one != two}
        for name in small
    }
    assert {name: {axis.dim for axis in each} for name, each in axes.items()} == {n: d for n, d in grown.items() if d}


def test_the_background_the_things_and_four_numbers_a_box_stay_together(tmp_path):
    config = presets.load(SMALL["panoptic_fpn"], ["backbone.pretrained=false", "relation.name=none"])
    old = saved(tmp_path / "w.safetensors", config, categories("sky", "CAR", "road", "DOG"))
    model = drawn(config, categories("DOG", "road", "CAR", "grass"), seed=1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    load_fitting_weights(model, tmp_path / "w.safetensors")
    new = model.state_dict()
    name = "initial_heads.semantic.bias"  # all things, road, grass
    assert torch.equal(new[name], torch.stack((old[name][0], old[name][2], before[name][2])))
    name = "initial_heads.regions.heads.box_predictor.cls_score.bias"  # background, DOG, CAR
    assert torch.equal(new[name], old[name][[0, 2, 1]])
    name = "initial_heads.regions.heads.box_predictor.bbox_pred.bias"
    assert torch.equal(new[name], old[name].view(3, 4)[[0, 2, 1]].flatten())


def test_no_object_stays_the_last(tmp_path):
    config = presets.load(SMALL["maskformer"], ["backbone.pretrained=false"])
    old = saved(tmp_path / "w.safetensors", config, categories("sky", "CAR"))
    model = drawn(config, categories("CAR", "sky", "road"), seed=1)
    load_fitting_weights(model, tmp_path / "w.safetensors")
    name = "final_heads.class_embed.weight"
    assert torch.equal(model.state_dict()[name][[0, 1, 3]], old[name][[1, 0, 2]])


def test_fewer_instances_keep_the_first_ones_mixing(tmp_path):
    old = saved(tmp_path / "w.safetensors", PISR, SCENES)["relation.attention.g_p.weight"]
    fewer = presets.load("scenes-pdl-r18", ["relation.top_k=5"])
    model = drawn(fewer, SCENES, seed=1)
    load_fitting_weights(model, tmp_path / "w.safetensors")
    assert torch.equal(model.state_dict()["relation.attention.g_p.weight"], old[: len(SCENES) + 5, : len(SCENES) + 5])


@BOTH_WAYS_IN
@pytest.mark.parametrize("preset", ["custom-pdl-r50", "custom-upernet-r18"])
def test_another_network_is_refused_by_either_way_in(tmp_path, load, preset):
    saved(tmp_path / "w.safetensors", PISR, SCENES)
    model = build_model(presets.load(preset, ["backbone.pretrained=false"]), SCENES)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"of another backbone, width or kind .* --backbone-only"):
        load(model, tmp_path / "w.safetensors")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("relations", [("none", "pisr"), ("pisr", "none"), ("ocr", "pisr"), ("concat", "heads")])
def test_any_relation_starts_from_any_other(tmp_path, relations):
    first, second = (presets.load("scenes-pdl-r18", [f"relation.name={name}"]) for name in relations)
    old = saved(tmp_path / "w.safetensors", first, SCENES)
    model = drawn(second, SCENES, seed=1)
    report = load_fitting_weights(model, tmp_path / "w.safetensors")
    base = [name for name in old if not name.startswith(("relation.", "final_heads."))]
    assert all(torch.equal(model.state_dict()[name], old[name]) for name in base)
    assert all(name.startswith("relation.") for name in report.kept)


def test_heads_of_a_semantic_second_stage_are_copied_as_far_as_there_are_such(tmp_path):
    saved(tmp_path / "w.safetensors", presets.load("scenes-pdl-r18-baseline"), SCENES)
    model = drawn(replace(PISR, relation=replace(PISR.relation, final_heads="semantic")), SCENES, seed=1)
    load_fitting_weights(model, tmp_path / "w.safetensors")
    assert torch.equal(model.initial_heads.semantic[1].weight, model.final_heads.semantic[1].weight)
