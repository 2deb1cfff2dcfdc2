import json
import logging
import zipfile

import numpy as np
import pytest

from pisr_core.config import DataConfig
from pisr_core.data import build_dataset
from pisr_core.data.prepare.datasets import prepare_dataset
from pisr_core.errors import ConfigError, DataError


@pytest.fixture
def coco_root(tmp_path, write_split):
    """COCO's validation split, its PNGs in the archive that the download holds."""
    base = tmp_path / "coco"
    folder = base / "annotations"
    names = [f"{i:012d}.jpg" for i in range(3)]
    write_split(base / "val2017", folder / "panoptic_val2017.json", folder / "panoptic_val2017", names)
    with zipfile.ZipFile(folder / "panoptic_val2017.zip", "w") as archive:
        for path in sorted((folder / "panoptic_val2017").iterdir()):
            archive.write(path, f"panoptic_val2017/{path.name}")
            path.unlink()
        archive.writestr("__MACOSX/panoptic_val2017/._x.png", "junk")
    return tmp_path


def test_pngs_are_unpacked_and_counts_told(coco_root, caplog):
    with caplog.at_level(logging.WARNING):
        reports = prepare_dataset("coco", coco_root)
    assert {split: (r.images, r.made, r.segments) for split, r in reports.items()} == {"val": (3, 3, 6)}
    assert "no split 'train'" in caplog.text and "3 images; the whole split has 5000" in caplog.text
    assert len(list((coco_root / "coco/annotations/panoptic_val2017").iterdir())) == 3
    assert len(build_dataset(DataConfig(dataset="coco"), "val", coco_root)[2].panoptic.segments) == 2


def test_only_what_is_missing_is_unpacked(coco_root):
    prepare_dataset("coco", coco_root)
    folder = coco_root / "coco/annotations/panoptic_val2017"
    (folder / "000000000001.png").unlink()
    assert prepare_dataset("coco", coco_root)["val"].made == 1
    assert prepare_dataset("coco", coco_root)["val"].made == 0


def test_the_whole_download_may_be_packed(coco_root, tmp_path):
    base, root = coco_root / "coco", tmp_path / "downloads"
    root.mkdir()
    for name, folder in (("panoptic_annotations_trainval2017.zip", "annotations"), ("val2017.zip", "val2017")):
        with zipfile.ZipFile(root / name, "w") as archive:
            for path in (base / folder).iterdir():
                if path.is_file():
                    archive.write(path, f"{folder}/{path.name}")
    prepare_dataset("coco", root)
    assert len(build_dataset(DataConfig(dataset="coco"), "val", root)) == 3
    assert (root / "coco/annotations/panoptic_val2017.zip").is_file()


def test_missing_files_are_named(coco_root):
    (coco_root / "coco/val2017/000000000002.jpg").unlink()
    with pytest.raises(DataError, match=r"val2017: 1 of 3 files are missing: 000000000002.jpg. Unpack val2017.zip"):
        prepare_dataset("coco", coco_root)


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match="neither train nor val is there. Put panoptic_annotations_trainval2017.zip"):
        prepare_dataset("coco", tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        prepare_dataset("coco", tmp_path / "none")
    with pytest.raises(ConfigError, match="cityscapes, ade20k, coco"):
        prepare_dataset("kitti", tmp_path)


@pytest.mark.parametrize("split", ["test-dev", "test"])
def test_test_splits_are_lists_of_images(tmp_path, save_png, split):
    base = tmp_path / "coco"
    save_png(base / "test2017/000000000016.jpg", np.zeros((6, 8, 3), np.uint8))
    record = {"id": 16, "file_name": "000000000016.jpg", "height": 6, "width": 8}
    path = base / f"annotations/image_info_{split}2017.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"images": [record], "categories": [{"id": 1, "name": "person"}]}))
    dataset = build_dataset(DataConfig(dataset="coco"), split, tmp_path)
    sample = dataset[0]
    assert (sample.image_id, sample.file_name, sample.panoptic) == (16, "000000000016.jpg", None)
    assert dataset.size(0) == (6, 8) and len(dataset.categories) == 133
    path.write_text("{}")
    with pytest.raises(DataError, match="has no list of images"):
        build_dataset(DataConfig(dataset="coco"), split, tmp_path)
