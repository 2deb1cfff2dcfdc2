import inspect
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_networks import LABELS, PROCESSORS, QUERIES, TINY, mask2former, swin

from pisr_core import presets
from pisr_core.data.loading import evaluation_batch
from pisr_core.data.pictures.image_tensors import pillow_to_tensor
from pisr_core.errors import CheckpointError
from pisr_core.inference.predict import predict_sample
from pisr_core.models import build_model
from pisr_core.structures import Category, Sample
from pisr_core.weights.hub.folder import read_hub_folder

CLASSES = tuple(Category(index, name, name in ("person", "car")) for index, name in sorted(LABELS["id2label"].items()))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Each tiny network beside its image processor, with queries that differ and are sure of something."""
    torch.manual_seed(0)
    saved = {}
    for kind, build in (TINY | {"mask2former-swin": lambda: mask2former(swin)}).items():
        network = build().eval()
        torch.nn.init.normal_(network.class_predictor.weight, std=2.0)
        for name, parameter in network.named_parameters():
            if len(parameter) == QUERIES or ("mask_" in name and "weight" in name):
                torch.nn.init.normal_(parameter, std=1.0)
        saved[kind] = tmp_path_factory.mktemp(kind)
        network.save_pretrained(saved[kind])
        PROCESSORS[kind.partition("-")[0]]().save_pretrained(saved[kind])
    return saved


@pytest.fixture(params=[*TINY, "mask2former-swin"])
def folder(request, folders):
    return folders[request.param]


@pytest.fixture(params=[(90, 131), (131, 90), (64, 64)], ids=str)
def picture(request):
    height, width = request.param
    noise = np.random.default_rng(0).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


THINGS = tuple(Category(c.id, c.name, isthing=True) for c in CLASSES)
"""Fusing stuff, `transformers` gives an id twice."""

OVERLAP = 0.05
"""Random networks are not so sure that any mask keeps the usual 80 %."""


def theirs(folder, picture):
    """The image, logits and panoptic map of `transformers`, and its default threshold."""
    from transformers import AutoImageProcessor, AutoModelForUniversalSegmentation

    network = AutoModelForUniversalSegmentation.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder)
    pixels = processor(images=picture, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        output = network(pixels)
    merge = processor.post_process_panoptic_segmentation
    sizes = [(picture.height, picture.width)]
    result = merge(output, target_sizes=sizes, overlap_mask_area_threshold=OVERLAP)[0]
    defaults = [inspect.signature(merge).parameters[f"{n}threshold"].default for n in ("", "overlap_mask_area_")]
    return pixels, output, result, defaults


def test_image_logits_and_map_are_those_of_transformers(folder, picture):
    checkpoint = read_hub_folder(folder, THINGS)
    settings = checkpoint.config.transformers
    sparing = replace(checkpoint.config, transformers=replace(settings, overlap_threshold=OVERLAP))
    model = build_model(sparing, checkpoint.categories).eval()
    model.load_state_dict(checkpoint.state)
    pixels, output, result, defaults = theirs(folder, picture)
    assert [settings.object_mask_threshold, settings.overlap_threshold] == defaults
    sample = Sample(pillow_to_tensor(picture), None, 0, "picture")
    batch = evaluation_batch([sample], checkpoint.config.data, model.size_divisor)
    torch.testing.assert_close(model.normalize(batch.images), pixels, atol=1e-6, rtol=0)
    with torch.no_grad():
        final = model(batch.images).final
    torch.testing.assert_close(final.class_logits, output.class_queries_logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(final.mask_logits, output.masks_queries_logits, atol=1e-5, rtol=1e-5)
    panoptic = predict_sample(model, sample, torch.device("cpu"))
    assert len(result["segments_info"]) == len(panoptic.segments) > 1
    same = np.zeros(panoptic.ids.shape, dtype=bool)
    for their, our in zip(result["segments_info"], panoptic.segments, strict=True):
        assert their["label_id"] == our.category
        assert their["score"] == pytest.approx(our.score, abs=1e-5)
        same |= (result["segmentation"].numpy() == their["id"]) & (panoptic.ids == our.id)
    same |= (result["segmentation"].numpy() == (-1 if "Eomt" in type(output).__name__ else 0)) & (panoptic.ids == 0)
    assert same.mean() >= 0.999


def test_its_settings_are_a_preset_of_their_own(folder, tmp_path):
    config = read_hub_folder(folder, CLASSES).config
    path = tmp_path / "own.toml"
    path.write_text(presets.to_toml(config))
    assert presets.load(str(path)) == config


def copied(folder, tmp_path, **changes):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    return tmp_path


def refusal(folder, categories=CLASSES):
    with pytest.raises(CheckpointError) as caught:
        read_hub_folder(folder, categories)
    return str(caught.value)


def test_to_start_a_training_the_names_of_the_classes_suffice(folders):
    checkpoint = read_hub_folder(folders["eomt"], to_predict=False)
    assert [category.name for category in checkpoint.categories] == list(LABELS["id2label"].values())


def test_labels_of_no_known_dataset_need_categories(folders):
    assert "--categories FILE" in refusal(folders["eomt"], None)
    assert "knows 4 classes, but 1 categories" in refusal(folders["eomt"], CLASSES[:1])


def test_a_folder_without_a_part_is_refused(folders, tmp_path):
    own = copied(folders["eomt"], tmp_path)
    (own / "preprocessor_config.json").unlink()
    assert "preprocessor_config.json" in refusal(own)
    (own / "model.safetensors").unlink()
    assert "has no weights" in refusal(own)
    assert "no such folder" in refusal(tmp_path / "absent")


def test_another_class_is_refused(folders, tmp_path):
    assert "'detr'; supported are" in refusal(copied(folders["eomt"], tmp_path, model_type="detr"))


def test_weights_that_do_not_fit_the_config_are_refused(folders, tmp_path):
    own = copied(folders["eomt"], tmp_path)
    state = load_file(own / "model.safetensors")
    save_file({k: v for k, v in state.items() if k != "query.weight"}, own / "model.safetensors")
    assert "query.weight first" in refusal(own)
    own = copied(folders["mask2former"], tmp_path, mask_feature_size=64)
    assert "do not fit its config.json" in refusal(own)


def test_labels_that_disagree_with_the_head_are_refused(folders, tmp_path):
    own = copied(folders["eomt"], tmp_path, id2label={"0": "person", "1": "sky"}, label2id={"person": 0, "sky": 1})
    assert "class_predictor.bias is 5 in the file and 3 by the config (id2label" in refusal(own)


def test_a_pickle_that_holds_code_is_refused_unexecuted(folders, tmp_path):
    own = copied(folders["eomt"], tmp_path)
    (own / "model.safetensors").unlink()
    torch.save(_Touch(tmp_path / "touched"), own / "pytorch_model.bin")
    assert "nothing in it was executed" in refusal(own)
    assert not (tmp_path / "touched").exists()


class _Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return self.path.touch, ()
