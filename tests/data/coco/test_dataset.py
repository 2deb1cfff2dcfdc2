import json
import logging
import pickle
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


@pytest.mark.parametrize("split", ["train", "val"])
def test_images_without_annotation_are_left_out_with_a_note(custom_root, caplog, split):
    path = custom_root / f"annotations/panoptic_{split}.json"
    edit(path, lambda content: content["annotations"].pop(1))
    with caplog.at_level(logging.INFO):
        dataset = build(custom_root, split)
    names = [dataset[index].file_name for index in range(len(dataset))]
    assert names == [dataset.file_name(index) for index in range(len(dataset))]
    assert names == [f"{number}.png" for number in range(len(dataset) + 1) if number != 1]
    assert f"left out 1 of {len(dataset) + 1} images, which have no annotation, 1.png first" in caplog.text


def test_without_any_annotation_there_is_nothing_to_learn_but_something_to_predict(custom_root):
    for split in ("train", "val"):
        edit(custom_root / f"annotations/panoptic_{split}.json", lambda content: content["annotations"].clear())
    with pytest.raises(DataError, match="no image has an annotation to learn from"):
        build(custom_root)
    assert len(build(custom_root, "val")) == 3 and build(custom_root, "val")[2].panoptic is None


def exchange_red_and_blue(folder):
    for path in folder.iterdir():
        Image.fromarray(np.asarray(Image.open(path))[..., ::-1]).save(path)


def test_training_on_pngs_whose_ids_are_not_listed_is_refused(custom_root):
    exchange_red_and_blue(custom_root / "annotations/panoptic_train")
    with pytest.raises(DataError, match="100 % of the labelled pixels of the 5 PNGs read so far .* 'pisr data check'"):
        build(custom_root)


def test_what_is_read_is_counted_too(custom_root, caplog):
    """The images go bad after the first look at them."""
    dataset = build(custom_root)
    exchange_red_and_blue(custom_root / "annotations/panoptic_train")
    for _ in range(3):
        assert [sample.panoptic.segments for sample in dataset] == [()] * 5
    with pytest.raises(DataError, match="labelled pixels of the 16 PNGs read so far"):
        dataset[0]


def test_a_few_unlisted_ids_are_void(custom_root, caplog):
    edit(custom_root / "annotations/panoptic_train.json", lambda c: c["annotations"][0].update(segments_info=[]))
    dataset = build(custom_root)
    assert [len(dataset[index % 5].panoptic.segments) for index in range(20)] == [0, 2, 2, 2, 2] * 4


@pytest.mark.parametrize(
    ("png", "image"),
    [
        ("panoptic_train/{}.png", "train/{}.png"),
        ("annotations/panoptic_train/{}.png", "datasets/mine/train/{}.png"),
        ("panoptic_train\\{}.png", "train\\{}.png"),
        ("{}.PNG", "{}.Png"),
    ],
)
def test_names_as_exporters_write_them(custom_root, png, image):
    def rename(content):
        for number, (annotation, entry) in enumerate(zip(content["annotations"], content["images"], strict=True)):
            annotation["file_name"], entry["file_name"] = png.format(number), image.format(number)

    edit(custom_root / "annotations/panoptic_train.json", rename)
    dataset = pickle.loads(pickle.dumps(build(custom_root)))
    assert [(sample.image[0, 0, 0].item(), len(sample.panoptic.segments)) for sample in dataset] == [
        (number, 2) for number in range(5)
    ]


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
