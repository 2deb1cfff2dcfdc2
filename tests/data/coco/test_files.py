import json
import logging

import numpy as np
import pytest
from PIL import Image

from pisr_core.data.coco.files import (
    AnnotationRecord,
    CocoPanopticWriter,
    id_to_rgb,
    read_panoptic_json,
    read_panoptic_png,
    read_segmentation,
    rgb_to_id,
)
from pisr_core.errors import DataError, OutputError
from pisr_core.structures import Category, PanopticSegmentation, Segment

CATEGORIES = (Category(3, "sky", False, (1, 2, 3), "outdoor"), Category(9, "car", True, (4, 5, 6)))


def panoptic_map():
    ids = np.array([[0, 1, 1], [70000, 70000, 1]], dtype=np.int32)
    return PanopticSegmentation(ids, (Segment(1, 0, 3), Segment(70000, 1, 2, score=0.25)))


def save_png(path, ids):
    Image.fromarray(id_to_rgb(np.asarray(ids, dtype=np.int32))).save(path)


def test_ids_by_hand():
    rgb = np.array([[[1, 2, 3], [255, 255, 255]]], dtype=np.uint8)
    assert rgb_to_id(rgb).tolist() == [[1 + 256 * 2 + 65536 * 3, 2**24 - 1]]


def test_colours_and_ids_are_inverse():
    ids = np.random.default_rng(0).integers(0, 2**24, (16, 16)).astype(np.int32)
    assert (rgb_to_id(id_to_rgb(ids)) == ids).all()


def test_png_round_trip(tmp_path):
    save_png(tmp_path / "a.png", [[0, 2**24 - 1]])
    ids = read_panoptic_png(tmp_path / "a.png")
    assert ids.tolist() == [[0, 2**24 - 1]] and ids.dtype == np.int32


@pytest.mark.parametrize("mode", ["L", "P", "LA", "I;16"])
def test_pngs_of_another_mode_are_refused(tmp_path, mode):
    Image.new(mode, (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="a.png: is a .* PNG. Segment ids need 8-bit RGB"):
        read_panoptic_png(tmp_path / "a.png")


@pytest.mark.parametrize("alpha", [0, 128, 255])
def test_an_alpha_channel_that_says_nothing_is_left_out(tmp_path, alpha):
    pixels = np.array([[[1, 2, 3, alpha], [255, 255, 255, alpha]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert read_panoptic_png(tmp_path / "a.png").tolist() == [[1 + 256 * 2 + 65536 * 3, 2**24 - 1]]


def test_an_alpha_channel_that_says_something_is_refused(tmp_path):
    Image.fromarray(np.array([[[1, 2, 3, 0], [1, 2, 3, 255]]], np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="a.png: cannot be read .its alpha differs"):
        read_panoptic_png(tmp_path / "a.png")


def test_missing_png(tmp_path):
    with pytest.raises(DataError, match="no such panoptic PNG"):
        read_panoptic_png(tmp_path / "a.png")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6])
def test_truncated_png(tmp_path, share):
    save_png(tmp_path / "a.png", np.random.default_rng(0).integers(0, 2**24, (32, 32)))
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match="a.png.*again"):
        read_panoptic_png(tmp_path / "a.png")


def test_areas_are_counted_and_contradictions_mended(tmp_path, caplog):
    save_png(tmp_path / "a.png", [[5, 5, 6], [0, 5, 7]])
    record = AnnotationRecord("a.png", (Segment(5, 0, area=0), Segment(8, 1, area=0)))
    with caplog.at_level(logging.WARNING):
        panoptic = read_segmentation(tmp_path / "a.png", record)
    assert panoptic.ids.tolist() == [[5, 5, 0], [0, 5, 0]]
    assert panoptic.segments == (Segment(5, 0, area=3),)
    assert "segments [8]" in caplog.text and "ids [6, 7]" in caplog.text


def test_what_is_written_is_read_back(tmp_path):
    with CocoPanopticWriter(tmp_path / "p.json", tmp_path / "p", CATEGORIES) as writer:
        writer.add(1, "a.jpg", panoptic_map())
        writer.add("two", "sub/b.jpg", panoptic_map())
        assert not (tmp_path / "p.json").exists()
    file = read_panoptic_json(tmp_path / "p.json")
    assert file.categories == CATEGORIES
    assert [(image.id, image.file_name, image.size) for image in file.images] == [
        (1, "a.jpg", (2, 3)),
        ("two", "sub/b.jpg", (2, 3)),
    ]
    for image_id in (1, "two"):
        record = file.annotations[image_id]
        panoptic = read_segmentation(tmp_path / "p" / record.file_name, record)
        assert (panoptic.ids == panoptic_map().ids).all()
        assert panoptic.segments == panoptic_map().segments


def test_written_entries_hold_what_coco_asks(tmp_path):
    with CocoPanopticWriter(tmp_path / "p.json", tmp_path / "p", CATEGORIES) as writer:
        writer.add(1, "a.jpg", panoptic_map())
    car = json.loads((tmp_path / "p.json").read_text())["annotations"][0]["segments_info"][1]
    assert car == {
        "id": 70000,
        "category_id": 9,
        "area": 2,
        "bbox": [0, 1, 2, 1],
        "iscrowd": 0,
        "isthing": 1,
        "score": 0.25,
    }


def test_images_that_differ_in_ending_get_different_pngs(tmp_path):
    with CocoPanopticWriter(tmp_path / "p.json", tmp_path / "p", CATEGORIES) as writer:
        paths = [writer.add(i, name, panoptic_map()) for i, name in enumerate(("a.jpg", "a.bmp"))]
    assert [path.name for path in paths] == ["a.png", "a.bmp.png"]


def test_an_error_leaves_no_json(tmp_path):
    with pytest.raises(KeyError):
        with CocoPanopticWriter(tmp_path / "p.json", tmp_path / "p", CATEGORIES) as writer:
            writer.add(1, "a.jpg", panoptic_map())
            raise KeyError
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.png", "p"]


@pytest.mark.parametrize("image_id, name", [(1, "b.jpg"), (2, "../b.jpg"), (2, "/b.jpg")])
def test_writer_refuses(tmp_path, image_id, name):
    writer = CocoPanopticWriter(tmp_path / "p.json", tmp_path / "p", CATEGORIES)
    writer.add(1, "a.jpg", panoptic_map())
    with pytest.raises(DataError, match="p.json"):
        writer.add(image_id, name, panoptic_map())


def test_writer_says_when_it_cannot_write(tmp_path):
    (tmp_path / "p").write_text("a file where the folder should be")
    writer = CocoPanopticWriter(tmp_path / "p.json", tmp_path / "p", CATEGORIES)
    with pytest.raises(OutputError, match="cannot be written"):
        writer.add(1, "a.jpg", panoptic_map())


def test_a_map_with_unexplained_ids_is_a_bug(tmp_path):
    writer = CocoPanopticWriter(tmp_path / "p.json", tmp_path / "p", CATEGORIES)
    with pytest.raises(ValueError, match="belong to no segment"):
        writer.add(1, "a.jpg", PanopticSegmentation(panoptic_map().ids, ()))
