"""Panoptic maps as annotation tools open them, and back."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from pisr_core.data.annotation_tools.brush import BrushRegion, packed
from pisr_core.data.annotation_tools.convert import ClassNames, convert_export
from pisr_core.data.annotation_tools.outlines import joined, outlines
from pisr_core.data.annotation_tools.regions import BoxRuns, run_lengths
from pisr_core.data.annotation_tools.write import write_for_tool
from pisr_core.data.coco.files import CocoPanopticWriter, read_panoptic_json, read_segmentation
from pisr_core.data.prepare.convert import StuffSource, convert_instances
from pisr_core.errors import ConfigError
from pisr_core.structures import Category, PanopticSegmentation, Segment

EXPORTS = Path(__file__).parent / "exports"
CATEGORIES = (
    Category(1, "car", True, (1, 2, 3)),
    Category(2, "person", True),
    Category(3, "road", False),
    Category(4, "sky", False),
)
NAMES = ClassNames(("car", "person"), ("road", "sky"))
SIZE = (40, 60)


def blobs(rng, size, share=0.5):
    """A mask with several parts and holes."""
    return cv2.GaussianBlur(rng.random(size).astype(np.float32), (5, 5), 2) > np.float32(share)


@pytest.fixture
def predicted(tmp_path, save_png):
    """Two images of ragged segments: two of stuff, five things, some void; a third image without any."""
    rng = np.random.default_rng(0)
    with CocoPanopticWriter(tmp_path / "panoptic.json", tmp_path / "panoptic", CATEGORIES) as writer:
        for number, name in enumerate(("a.jpg", "deep/b.png", "c.jpg")):
            ids = np.zeros(SIZE, np.int32)
            classes = () if number == 2 else (2, 3, 0, 0, 1, 1, 0)
            for place, _ in enumerate(classes, start=1):
                ids[blobs(rng, SIZE, 0.5 if place < 4 else 0.52)] = place
            areas = np.bincount(ids.ravel(), minlength=8)
            segments = [Segment(i, c, int(areas[i]), score=0.5 + 0.05 * i) for i, c in enumerate(classes, start=1)]
            writer.add(number, name, PanopticSegmentation(ids, tuple(segments)))
            save_png(tmp_path / "images" / name, np.zeros((*SIZE, 3), np.uint8))
    return tmp_path / "panoptic.json"


def maps(path):
    """Of each image the class of each pixel, and the pixels of each thing as a set."""
    file = read_panoptic_json(path)
    found = {}
    for image in file.images:
        record = file.annotations[image.id]
        panoptic = read_segmentation(path.with_suffix("") / record.file_name, record)
        names = [category.name for category in file.categories]
        masks = {(names[s.category], (panoptic.ids == s.id).tobytes()) for s in panoptic.segments}
        found[image.file_name] = masks
    return found


@pytest.mark.parametrize(
    ("name", "files"),
    [("labelme", "labelme"), ("cvat", "cvat.xml"), ("label-studio", "label_studio.json")],
)
def test_nothing_is_lost_on_the_way_to_a_tool_and_back(predicted, tmp_path, name, files):
    """pisr -> tool -> pisr: the same segments, to the pixel."""
    written = write_for_tool(predicted, tmp_path / "out", name, {"a.jpg": tmp_path / "images/a.jpg"})
    assert (written.images, written.segments, written.left_out) == (3, 14, 0)
    path = tmp_path / "out" / files
    if name == "label-studio":  # its predictions, accepted
        tasks = json.loads(path.read_text())
        path.write_text(json.dumps([task | {"annotations": task["predictions"]} for task in tasks]))
    convert_export(path, tmp_path / "images", tmp_path / "back.json", NAMES, workers=1)
    assert maps(tmp_path / "back.json") == maps(predicted)


def test_coco_instances_and_stuff_come_back(predicted, tmp_path):
    write_for_tool(predicted, tmp_path / "out", "coco-instances")
    content = json.loads((tmp_path / "out/instances.json").read_text())
    assert [category["name"] for category in content["categories"]] == ["car", "person"]
    assert {type(entry["segmentation"]) for entry in content["annotations"]} == {list, dict}  # some have holes
    assert content["annotations"][0]["score"] == 0.65
    stuff = StuffSource(json_path=tmp_path / "out/stuff.json")
    convert_instances(tmp_path / "out/instances.json", tmp_path / "back.json", stuff, workers=1)
    assert maps(tmp_path / "back.json") == maps(predicted)


def test_yolo_has_a_ring_for_each_thing(predicted, tmp_path):
    written = write_for_tool(predicted, tmp_path / "out", "yolo")
    assert (written.segments, written.left_out) == (10, 4)
    folder = tmp_path / "out/yolo"
    assert (folder / "train.txt").read_text().split() == [f"images/train/{n}" for n in ("a.jpg", "deep/b.png", "c.jpg")]
    assert (folder / "data.yaml").read_text().endswith('names:\n  0: "car"\n  1: "person"\n')
    wanted = maps(predicted)
    for name, label in (("a.jpg", "a.txt"), ("deep/b.png", "deep/b.txt"), ("c.jpg", "c.txt")):
        lines = (folder / "labels/train" / label).read_text().splitlines()
        found = set()
        for line in lines:
            number, *shares = map(float, line.split())
            ring = np.array(shares).reshape(-1, 2) * (SIZE[1], SIZE[0])
            found.add((CATEGORIES[int(number)].name, _inside(ring).tobytes()))
        assert found == {segment for segment in wanted[name] if segment[0] in NAMES.things}


def _inside(ring):
    """Pixels whose centre is inside, where a ring that crosses twice is outside."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    inside = np.zeros(SIZE, bool)
    for (x, y), (next_x, next_y) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if abs(y - next_y) > 1e-6:
            crosses = (rows > min(y, next_y)) & (rows < max(y, next_y))
            inside ^= crosses & (columns < x + (rows - y) * (next_x - x) / (next_y - y))
    return inside


def test_from_a_tool_and_back_to_it(predicted, tmp_path, save_png):
    """tool -> pisr -> tool: CVAT's file with overlaps becomes one without; what is seen stays, group by group."""
    save_png(tmp_path / "images/a.png", np.zeros((12, 16, 3), np.uint8))
    names = ClassNames(("car", "person"), ("road",))
    convert_export(EXPORTS / "cvat", tmp_path / "images", tmp_path / "one.json", names, workers=1)
    written = write_for_tool(tmp_path / "one.json", tmp_path / "out", "cvat")
    assert written.segments == 3  # the car's two parts are one mask; none is lost
    convert_export(tmp_path / "out/cvat.xml", tmp_path / "images", tmp_path / "two.json", names, workers=1)
    assert maps(tmp_path / "two.json") == maps(tmp_path / "one.json")


def test_cvat_by_hand(tmp_path):
    """A corner of three pixels at column 2, row 1: from the left, row by row, 2 in, 1 in and 1 out."""
    ids = np.zeros((4, 5), np.int32)
    ids[1, 2:4] = ids[2, 2] = 7
    with CocoPanopticWriter(tmp_path / "p.json", tmp_path / "p", CATEGORIES) as writer:
        writer.add(1, "a.png", PanopticSegmentation(ids, (Segment(7, 0, 3),)))
    write_for_tool(tmp_path / "p.json", tmp_path, "cvat")
    text = (tmp_path / "cvat.xml").read_text()
    assert '<image id="0" name="a.png" width="5" height="4">' in text and "color>#010203<" in text
    assert 'rle="0, 3, 1" left="2" top="1" width="2" height="2"' in text


def test_an_unknown_format_lists_the_known_ones(predicted, tmp_path):
    with pytest.raises(ConfigError, match="labelme, cvat, label-studio, coco-instances, yolo"):
        write_for_tool(predicted, tmp_path, "voc")


@pytest.mark.parametrize("seed", range(20))
def test_outlines_give_the_mask_back(seed):
    rng = np.random.default_rng(seed)
    mask = blobs(rng, (17, 23)) if seed % 2 else rng.random((9, 11)) < 0.5
    found = outlines(mask)
    height, width = mask.shape
    back = np.zeros(mask.shape, bool)
    for ring in (*found.outer, *found.holes):
        polygon = coco_mask.frPyObjects([ring.ravel().astype(float).tolist()], height, width)
        back ^= coco_mask.decode(polygon)[..., 0].astype(bool)
    assert (back == mask).all()
    x, y = joined([*found.outer, *found.holes]).T
    assert abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) == 2 * mask.sum()  # holes turn the other way


def test_run_lengths_there_and_back():
    assert run_lengths(np.array([0, 0, 1, 1, 1, 0], bool)) == [2, 3, 1]
    assert run_lengths(np.array([1, 0], bool)) == [0, 1, 1]
    region = BoxRuns((0, 1, 1, 2), 3, -1, (2, 2))  # of which the first row lies above the image
    assert region.mask((3, 5)).tolist() == [[False] * 3 + [True, True], [False] * 5, [False] * 5]
    with pytest.raises(ValueError, match="do not add up"):
        BoxRuns((1, 2), 0, 0, (2, 2)).mask((4, 4))


def test_brush_strokes_there_and_back():
    rng = np.random.default_rng(0)
    for mask in (blobs(rng, (50, 300)), np.ones((200, 400), bool), np.zeros((1, 1), bool)):
        assert (BrushRegion(packed(mask)).mask(mask.shape) == mask).all()
    numbers = packed(np.ones((2, 2), bool))
    for broken, message in ((numbers[:-1], "cut off"), ([], "cut off"), ([256], "no bytes")):
        with pytest.raises(ValueError, match=message):
            BrushRegion(broken).mask((2, 2))
    with pytest.raises(ValueError, match="are for 4 pixels, the image has 6"):
        BrushRegion(numbers).mask((2, 3))


def test_tracks_keep_their_ids(predicted, tmp_path):
    """Frames under their names, with the maps as they are, for the public evaluation of Cityscapes-VPS."""
    written = write_for_tool(predicted, tmp_path / "vps", "cityscapes-vps")
    ours, theirs = (read_panoptic_json(path) for path in (predicted, tmp_path / "vps/pred.json"))
    assert written.images == len(ours.images) == len(theirs.images) and written.left_out == 0
    for image, same in zip(ours.images, theirs.images, strict=True):
        record, other = ours.annotations[image.id], theirs.annotations[same.id]
        assert (same.id, other.file_name) == (Path(image.file_name).stem, f"{Path(image.file_name).stem}.png")
        expected = read_segmentation(predicted.with_suffix("") / record.file_name, record)
        found = read_segmentation(tmp_path / "vps/pan_pred" / other.file_name, other)
        np.testing.assert_array_equal(found.ids, expected.ids)
        assert sorted(s.id for s in found.segments) == sorted(s.id for s in expected.segments)
