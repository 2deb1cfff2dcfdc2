import json
import shutil

import numpy as np
import pytest
from PIL import Image

from pisr_core.config import DataConfig
from pisr_core.data import build_dataset, dataset_root
from pisr_core.errors import ConfigError, DataError
from pisr_core.structures import Segment


def build(root, split="train", dataset="custom"):
    return build_dataset(DataConfig(dataset=dataset), split, root)


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_samples(custom_root):
    dataset = build(custom_root)
    assert len(dataset) == 5 and dataset.size(3) == (24, 32)
    assert [(c.name, c.isthing) for c in dataset.categories] == [("road", False), ("car", True)]
    sample = dataset[3]
    assert (sample.image == 3).all() and (sample.image_id, sample.file_name) == (3, "3.png")
    assert sample.panoptic.segments == (Segment(10, 0, 24 * 16), Segment(20, 1, 24 * 16))
    assert (np.unique(sample.panoptic.semantic(), return_counts=True)[0] == [0, 1]).all()


@pytest.mark.parametrize("images", ["train", "images/train", "images"])
def test_custom_layouts(tmp_path, write_split, images):
    folder = tmp_path / "annotations"
    write_split(tmp_path / images, folder / "panoptic_train.json", folder / "panoptic_train", ["a.png"])
    assert build(tmp_path)[0].file_name == "a.png"


@pytest.mark.parametrize("base", ["", "coco"])
@pytest.mark.parametrize("pngs", ["annotations/panoptic_val2017", "panoptic_val2017"])
def test_coco_layouts(tmp_path, write_split, base, pngs):
    root = tmp_path / base
    write_split(root / "val2017", root / "annotations/panoptic_val2017.json", root / pngs, ["000000000001.png"])
    assert len(build(tmp_path, "val", "coco")) == 1


def test_cityscapes_layout(tmp_path, write_split):
    root, name = tmp_path / "cityscapes", "aachen_000000_000019"
    write_split(
        root / "leftImg8bit/train/aachen",
        root / "gtFine/cityscapes_panoptic_train.json",
        root / "gtFine/cityscapes_panoptic_train",
        [f"{name}_leftImg8bit.png"],
        [f"{name}_gtFine_panoptic.png"],
        [name],
    )

    def name_as_cityscapes_does(content):
        content["images"][0]["file_name"] = f"{name}_gtFine_leftImg8bit.png"

    edit(root / "gtFine/cityscapes_panoptic_train.json", name_as_cityscapes_does)
    sample = build(tmp_path, "train", "cityscapes")[0]
    assert sample.image_id == name and len(sample.panoptic.segments) == 2


def test_scenes_need_no_folder():
    assert len(build(None, "val", "scenes")) == DataConfig().scenes.val_images


def test_missing_split_lists_the_paths(custom_root):
    with pytest.raises(DataError) as caught:
        build(custom_root, "test")
    message = str(caught.value)
    assert str(custom_root / "annotations/panoptic_test.json") in message
    assert "--data" in message and "PISR_DATASETS" in message


def test_unknown_dataset():
    with pytest.raises(ConfigError, match="data.dataset = 'nowhere'.*scenes, custom, coco, cityscapes"):
        build(None, dataset="nowhere")


def test_dataset_root(tmp_path, monkeypatch):
    monkeypatch.setenv("PISR_DATASETS", "/a")
    monkeypatch.setenv("DETECTRON2_DATASETS", "/b")
    assert dataset_root(tmp_path) == tmp_path
    assert str(dataset_root(None)) == "/a"
    monkeypatch.delenv("PISR_DATASETS")
    assert str(dataset_root(None)) == "/b"
    monkeypatch.setenv("DETECTRON2_DATASETS", "")
    assert str(dataset_root(None)) == "datasets"


def test_training_needs_every_annotation(custom_root):
    for split in ("train", "val"):
        edit(custom_root / f"annotations/panoptic_{split}.json", lambda content: content["annotations"].pop())
    with pytest.raises(DataError, match="1 images have no annotation, 4.png first"):
        build(custom_root)
    assert build(custom_root, "val")[2].panoptic is None


def test_no_images(custom_root):
    edit(custom_root / "annotations/panoptic_val.json", lambda content: content.update(images=[], annotations=[]))
    with pytest.raises(DataError, match="list of images is empty"):
        build(custom_root, "val")


def test_png_of_another_size(custom_root):
    Image.new("RGB", (31, 24)).save(custom_root / "annotations/panoptic_train/0.png")
    with pytest.raises(DataError, match=r"0.png: the PNG has the size \(24, 31\)"):
        build(custom_root)[0]


def test_image_of_another_size(custom_root):
    Image.new("RGB", (31, 24)).save(custom_root / "train/0.png")
    with pytest.raises(DataError, match="0.png: the image has 24×31 pixels, its annotation 24×32"):
        build(custom_root)[0]


def test_missing_folder(custom_root):
    shutil.rmtree(custom_root / "annotations/panoptic_val")
    with pytest.raises(DataError, match="panoptic_val"):
        build(custom_root, "val")
