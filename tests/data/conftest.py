import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pisr_core.data.coco.files import id_to_rgb

CATEGORIES = [{"id": 1, "name": "road", "isthing": 0}, {"id": 5, "name": "car", "isthing": 1}]
SIZE = (24, 32)


def _write_split(images_dir: Path, json_path: Path, png_dir: Path, names, png_names=None, ids=None):
    """A split whose left half is road (segment 10) and whose right half is a car (segment 20)."""
    panoptic = np.full(SIZE, 10, dtype=np.int32)
    panoptic[:, SIZE[1] // 2 :] = 20
    content = {"images": [], "annotations": [], "categories": CATEGORIES}
    png_names = png_names or [Path(name).with_suffix(".png").name for name in names]
    png_dir.mkdir(parents=True)
    for number, (name, png_name) in enumerate(zip(names, png_names, strict=True)):
        image_id = ids[number] if ids else number
        pixels = np.full((*SIZE, 3), number, dtype=np.uint8)
        (images_dir / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(images_dir / name)
        Image.fromarray(id_to_rgb(panoptic)).save(png_dir / png_name)
        content["images"].append({"id": image_id, "file_name": name, "height": SIZE[0], "width": SIZE[1]})
        segments = [{"id": 10, "category_id": 1}, {"id": 20, "category_id": 5}]
        content["annotations"].append({"image_id": image_id, "file_name": png_name, "segments_info": segments})
    json_path.parent.mkdir(parents=True, exist_ok=True)
    json_path.write_text(json.dumps(content))


@pytest.fixture
def write_split():
    return _write_split


@pytest.fixture
def custom_root(tmp_path):
    """A user's own dataset: five training and three validation images, the colour of each is its number."""
    for split, count in (("train", 5), ("val", 3)):
        folder = tmp_path / "annotations"
        names = [f"{i}.png" for i in range(count)]
        _write_split(tmp_path / split, folder / f"panoptic_{split}.json", folder / f"panoptic_{split}", names)
    return tmp_path


def _save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array)).save(path)


CITYSCAPES_IDS = [0, 3, 4, 7, 11, 21, 23, 24, 26, 29, 33, 24000, 24001, 26000, 26001, 26255, 29000, 31002]
"""Void, stuff, groups of things, and instances, one (29) of a class that is not evaluated."""


@pytest.fixture
def cityscapes_raw(tmp_path):
    """Cityscapes as downloaded, tiny: three training images of two cities and two validation images."""
    base, rng = tmp_path / "cityscapes", np.random.default_rng(0)
    for split, names in (
        ("train", ["ulm_000000_000019", "ulm_000001_000019", "aachen_000002_000019"]),
        ("val", ["munster_000000_000019", "lindau_000000_000019"]),
    ):
        for name in names:
            city = name.split("_")[0]
            blocks = rng.choice(CITYSCAPES_IDS, size=(4, 8)).astype(np.uint16)
            _save(
                base / f"gtFine/{split}/{city}/{name}_gtFine_instanceIds.png",
                np.kron(blocks, np.ones((8, 8), np.uint16)),
            )
            pixels = rng.integers(0, 255, (32, 64, 3), dtype=np.uint8)
            _save(base / f"leftImg8bit/{split}/{city}/{name}_leftImg8bit.png", pixels)
    return tmp_path


@pytest.fixture
def ade20k_raw(tmp_path):
    """ADE20K as downloaded, tiny: two training images, a validation and a test image.

    Rows from the top: void, wall (1), sky (3), bed (8; instances 1 and 2, class 1 of the instance benchmark), tree (5),
    person (13) without an instance. One instance of flag (100; 150 of the classes) reaches over sky and bed.
    """
    base, rng = tmp_path / "ADEChallengeData2016", np.random.default_rng(0)
    semantic = np.repeat(np.array([0, 1, 3, 8, 5, 13], np.uint8), 4)[:, None].repeat(20, axis=1)
    instances = np.zeros((24, 20, 3), np.uint8)
    instances[12:16, :10], instances[12:16, 10:] = (1, 1, 0), (1, 2, 0)
    instances[10:13, 4:6] = (100, 3, 0)
    for folder, names in (
        ("training", ["ADE_train_00000001", "ADE_train_00000002"]),
        ("validation", ["ADE_val_00000001"]),
    ):
        for name in names:
            _save(base / f"images/{folder}/{name}.jpg", rng.integers(0, 255, (24, 20, 3), dtype=np.uint8))
            _save(base / f"annotations/{folder}/{name}.png", semantic)
            _save(base / f"annotations_instance/{folder}/{name}.png", instances)
    _save(base / "release_test/testing/ADE_test_00000001.jpg", np.zeros((10, 12, 3), np.uint8))
    return tmp_path


@pytest.fixture
def save_png():
    return _save
