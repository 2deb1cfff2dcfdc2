import json

import numpy as np
import pytest
from PIL import Image

from pisr_core.config import DataConfig
from pisr_core.data import build_dataset
from pisr_core.data.categories import known_categories
from pisr_core.data.prepare.ade20k import instance_classes
from pisr_core.data.prepare.datasets import prepare_dataset
from pisr_core.errors import DataError

WALL, SKY, TREE, BED, FLAG = 0, 2, 4, 7, 149


def test_the_panoptic_map_by_hand(ade20k_raw):
    prepare_dataset("ade20k", ade20k_raw, workers=1)
    dataset = build_dataset(DataConfig(dataset="ade20k"), "val", ade20k_raw)
    sample = dataset[0]
    assert (sample.image_id, sample.file_name) == ("ADE_val_00000001", "ADE_val_00000001.jpg")
    classes, ids = sample.panoptic.semantic(), sample.panoptic.ids
    assert dataset.categories == known_categories("ade20k")
    assert [row[0] for row in classes[::4].tolist()] == [255, WALL, SKY, BED, TREE, 255]
    assert (classes[10:13, 4:6] == FLAG).all() and (classes == FLAG).sum() == 6
    found = {segment.id: (segment.category, segment.area) for segment in sample.panoptic.segments}
    assert found == {1: (WALL, 80), 3: (SKY, 76), 5: (TREE, 80), 8001: (BED, 38), 8002: (BED, 40), 150003: (FLAG, 6)}
    assert ids[12, 0] == 8001 and ids[12, 19] == 8002


def test_the_json_has_what_training_reads(ade20k_raw):
    prepare_dataset("ade20k", ade20k_raw / "ADEChallengeData2016", workers=1)
    base = ade20k_raw / "ADEChallengeData2016"
    content = json.loads((base / "ade20k_panoptic_train.json").read_text())
    assert [image["id"] for image in content["images"]] == ["ADE_train_00000001", "ADE_train_00000002"]
    assert content["images"][0] | {"id": ""} == {
        "id": "",
        "file_name": "ADE_train_00000001.jpg",
        "width": 20,
        "height": 24,
    }
    flag = content["annotations"][0]["segments_info"][-1]
    assert flag == {"id": 150003, "category_id": 149, "area": 6, "bbox": [4, 10, 2, 3], "iscrowd": 0}
    assert sum(category["isthing"] for category in content["categories"]) == 100
    assert (base / "ade20k_panoptic_train/ADE_train_00000001.png").is_file()


def test_numbers_of_the_instance_benchmark():
    """Some of the public list: number, class of scene parsing (from 1), name."""
    listed = {1: (8, "bed"), 4: (13, "person"), 9: (21, "car"), 50: (81, "bus"), 57: (89, "booth"), 93: (140, "fan")}
    categories = known_categories("ade20k")
    for number, (scene_parsing, name) in listed.items():
        category = categories[instance_classes()[number]]
        assert (category.id + 1, category.name) == (scene_parsing, name)
    assert sorted(instance_classes()) == list(range(1, 101))
    assert sorted(instance_classes().values()) == [category.id for category in categories if category.isthing]


def test_objects_without_instances_are_stuff():
    """objectInfo150 marks 35 classes (from 1) as stuff; of the other 115 the public data has instances of 100."""
    stuff = {1, 2, 3, 4, 6, 7, 10, 12, 14, 17, 22, 26, 27, 29, 30, 47, 49, 52, 53, 55, 60, 61, 62, 69, 80, 85, 92, 95}
    stuff |= {97, 102, 106, 110, 114, 129, 141}
    ours = {category.id + 1: category.name for category in known_categories("ade20k") if not category.isthing}
    assert len(stuff) == 35 and stuff < set(ours)
    names = {ours[number].split(",")[0] for number in set(ours) - stuff}
    assert names == {
        *("tree", "plant", "rock", "base", "blind", "bar", "buffet", "poster"),
        *("canopy", "tent", "cradle", "tank", "blanket", "crt screen", "shower"),
    }


@pytest.mark.parametrize(
    ("folder", "change", "message"),
    [
        ("annotations", lambda a: np.full_like(a, 151), "annotations/.*unknown classes 151"),
        ("annotations", lambda a: a[:-1], "annotations_instance/.* has 24×20 pixels, but .* 23×20"),
        ("annotations", lambda a: np.stack([a] * 3, axis=-1), "annotations/.* is in colour"),
        ("annotations_instance", lambda a: a[..., 0], "annotations_instance/.* is no RGB"),
        ("annotations_instance", lambda a: a + np.uint8([101, 0, 0]), "annotations_instance/.*unknown classes 102"),
        (
            "annotations_instance",
            lambda a: np.maximum(a * np.uint8([1, 0, 0]), np.uint8([1, 7, 0])),
            "an instance has two classes",
        ),
        ("images", lambda a: a[:, :-1], "annotations/.* has 24×20 pixels, but .*images.* 24×19"),
    ],
)
def test_contradictions_name_the_file(ade20k_raw, save_png, folder, change, message):
    suffix = ".jpg" if folder == "images" else ".png"
    path = ade20k_raw / f"ADEChallengeData2016/{folder}/validation/ADE_val_00000001{suffix}"
    save_png(path, change(np.array(Image.open(path))))
    with pytest.raises(DataError, match=message):
        prepare_dataset("ade20k", ade20k_raw, workers=1)


def test_missing_annotations(ade20k_raw):
    base = ade20k_raw / "ADEChallengeData2016"
    (base / "annotations_instance").rename(base / "elsewhere")
    with pytest.raises(
        DataError, match=r"annotations_instance/training: no such folder. Unpack annotations_instance.tar"
    ):
        prepare_dataset("ade20k", ade20k_raw, workers=1)


def test_test_images(ade20k_raw):
    dataset = build_dataset(DataConfig(dataset="ade20k"), "test", ade20k_raw)
    assert (len(dataset), dataset.size(0), dataset[0].panoptic) == (1, (10, 12), None)
    assert dataset[0].image_id == "ADE_test_00000001" and len(dataset.categories) == 150
