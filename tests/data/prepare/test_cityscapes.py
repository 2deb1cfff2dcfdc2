import json

import numpy as np
import pytest
from cityscapesscripts.helpers.annotation import Annotation
from cityscapesscripts.preparation.createPanopticImgs import convert2panoptic
from cityscapesscripts.preparation.json2instanceImg import createInstanceImage
from PIL import Image

from pisr_core.config import DataConfig
from pisr_core.data import build_dataset
from pisr_core.data.prepare.cityscapes import panoptic
from pisr_core.data.prepare.datasets import prepare_dataset
from pisr_core.data.prepare.raw import Label, segments_info
from pisr_core.errors import DataError

POLYGONS = {
    "imgHeight": 32,
    "imgWidth": 64,
    "objects": [
        {"label": "road", "polygon": [[0, 0], [63, 0], [63, 31], [0, 31]]},
        {"label": "car", "polygon": [[2, 2], [20, 2], [20, 12]]},
        {"label": "cargroup", "polygon": [[30, 4], [50, 4], [50, 14], [30, 14]]},
        {"label": "car", "polygon": [[5, 20], [15, 20], [15, 28], [5, 28]]},
    ],
}


def read(path):
    return json.loads(path.read_text())


def test_equals_cityscapesscripts(cityscapes_raw, tmp_path):
    official = tmp_path / "official"
    official.mkdir()
    gt = cityscapes_raw / "cityscapes/gtFine"
    convert2panoptic(str(gt), str(official), setNames=["train", "val"])
    reports = prepare_dataset("cityscapes", cityscapes_raw, workers=1)
    assert [(report.images, report.made) for report in reports.values()] == [(3, 3), (2, 2)]
    for split in ("train", "val"):
        name = f"cityscapes_panoptic_{split}"
        assert read(gt / f"{name}.json") == read(official / f"{name}.json")
        pngs = sorted(path.name for path in (official / name).iterdir())
        assert pngs == sorted(path.name for path in (gt / name).iterdir())
        for png in pngs:
            np.testing.assert_array_equal(Image.open(gt / name / png), Image.open(official / name / png))


def test_is_read_as_the_dataset(cityscapes_raw):
    prepare_dataset("cityscapes", cityscapes_raw / "cityscapes", workers=1)
    for root in (cityscapes_raw, cityscapes_raw / "cityscapes"):
        dataset = build_dataset(DataConfig(dataset="cityscapes"), "train", root)
        assert [dataset[i].image_id for i in range(3)] == [
            "aachen_000002_000019",
            "ulm_000000_000019",
            "ulm_000001_000019",
        ]
    folder = cityscapes_raw / "cityscapes/gtFine/train/ulm"
    raw = np.array(Image.open(folder / "ulm_000000_000019_gtFine_instanceIds.png")).astype(int)
    segments = {segment.id: segment for segment in dataset[1].panoptic.segments}
    ids = dataset[1].panoptic.ids
    assert {raw[pixel] for pixel in np.ndindex(32, 64) if ids[pixel] == 0} <= {0, 3, 4, 29, 29000}
    assert (ids[ids > 0] == raw[ids > 0]).all() and set(segments) == set(raw.ravel()) - {0, 3, 4, 29, 29000}
    assert all(segment.iscrowd == (segment.id in (24, 26, 33)) for segment in segments.values())


def test_segments_by_hand():
    ids = np.array([[7, 7, 26], [26001, 4, 26]], dtype=np.int32)
    labelled = panoptic(ids)
    assert labelled.ids.tolist() == [[7, 7, 26], [26001, 0, 26]]
    assert labelled.labels == {7: Label(7), 26: Label(26, iscrowd=True), 26001: Label(26)}
    assert segments_info(labelled) == [
        {"id": 7, "category_id": 7, "area": 2, "bbox": [0, 0, 2, 1], "iscrowd": 0},
        {"id": 26, "category_id": 26, "area": 2, "bbox": [2, 0, 1, 2], "iscrowd": 1},
        {"id": 26001, "category_id": 26, "area": 1, "bbox": [0, 1, 1, 1], "iscrowd": 0},
    ]


def polygons_only(root, content):
    """Replaces an image's instance ids by polygons."""
    stem = root / "cityscapes/gtFine/val/lindau/lindau_000000_000019_gtFine"
    instances = stem.with_name(f"{stem.name}_instanceIds.png")
    instances.unlink()
    polygons = stem.with_name(f"{stem.name}_polygons.json")
    polygons.write_text(content if isinstance(content, str) else json.dumps(content))
    return instances, polygons


def test_missing_instance_ids_are_drawn(cityscapes_raw):
    instances, polygons = polygons_only(cityscapes_raw, POLYGONS)
    reports = prepare_dataset("cityscapes", cityscapes_raw, workers=1)
    assert reports["val"].images == 2
    annotation = Annotation()
    annotation.fromJsonFile(str(polygons))
    drawn = np.array(Image.open(instances))
    assert drawn.dtype == np.uint16 and set(np.unique(drawn)) == {7, 26, 26000, 26001}
    np.testing.assert_array_equal(drawn, createInstanceImage(annotation, "ids"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        (POLYGONS | {"objects": [{"label": "dragon", "polygon": [[0, 0], [9, 0], [9, 9]]}]}, "unknown labels dragon"),
        (POLYGONS | {"objects": [{"label": "car", "polygon": [[0, 0]]}]}, "cannot be drawn"),
        (POLYGONS | {"imgHeight": 30}, "has 30×64 pixels, but .* 32×64"),
    ],
)
def test_broken_polygons_are_named_and_the_others_done(cityscapes_raw, capfd, content, message):
    polygons_only(cityscapes_raw, content)
    with pytest.raises(DataError, match=f"1 of 2 images could not be prepared:\n.*lindau.*{message}"):
        prepare_dataset("cityscapes", cityscapes_raw, workers=1)
    gt = cityscapes_raw / "cityscapes/gtFine"
    assert (gt / "cityscapes_panoptic_val/munster_000000_000019_gtFine_panoptic.png").is_file()
    assert (gt / "cityscapes_panoptic_train.json").is_file() and not (gt / "cityscapes_panoptic_val.json").exists()
    assert capfd.readouterr().out == ""


def test_unknown_ids_and_missing_images(cityscapes_raw, save_png):
    base = cityscapes_raw / "cityscapes"
    wrong = base / "gtFine/val/munster/munster_000000_000019_gtFine_instanceIds.png"
    save_png(wrong, np.full((32, 64), 64000, np.uint16))
    (base / "leftImg8bit/val/lindau/lindau_000000_000019_leftImg8bit.png").unlink()
    with pytest.raises(DataError) as caught:
        prepare_dataset("cityscapes", cityscapes_raw, workers=1)
    assert "2 of 2" in str(caught.value) and "unknown instance ids" in str(caught.value)
    assert "lindau_000000_000019_leftImg8bit.png: no such image" in str(caught.value)


def test_test_images_have_no_annotation(cityscapes_raw, save_png):
    folder = cityscapes_raw / "cityscapes/leftImg8bit/test/bonn"
    save_png(folder / "bonn_000000_000019_leftImg8bit.png", np.zeros((6, 8, 3), np.uint8))
    dataset = build_dataset(DataConfig(dataset="cityscapes"), "test", cityscapes_raw)
    sample = dataset[0]
    assert len(dataset) == 1 and dataset.size(0) == (6, 8) == tuple(sample.image.shape[1:])
    assert (sample.panoptic, sample.image_id) == (None, "bonn_000000_000019")
    assert sample.file_name == "bonn/bonn_000000_000019_leftImg8bit.png" and len(dataset.categories) == 19
