import copy
import json

import pytest

from pisr_core.data.coco.entries import distinct_color, is_inside
from pisr_core.data.coco.json_files import load_json
from pisr_core.data.coco.panoptic_json import read_panoptic_json
from pisr_core.errors import DataError
from pisr_core.structures import Segment

CONTENT = {
    "images": [{"id": 4, "file_name": "a.jpg", "height": 20, "width": 30}],
    "annotations": [
        {
            "image_id": 4,
            "file_name": "a.png",
            "segments_info": [
                {"id": 11, "category_id": 7, "area": -5, "bbox": "nonsense"},
                {"id": 12, "category_id": 2, "iscrowd": 1, "score": 0.5},
            ],
        }
    ],
    "categories": [
        {"id": 7, "name": "sky", "isthing": 0},
        {"id": 2, "name": "car", "isthing": 1, "color": [9, 8, 7], "supercategory": "vehicle"},
    ],
}


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def test_reads_what_matters_and_trusts_no_area(tmp_path):
    file = read_panoptic_json(write(tmp_path / "p.json", CONTENT))
    assert [(c.id, c.name, c.isthing, c.supercategory) for c in file.categories] == [
        (2, "car", True, "vehicle"),
        (7, "sky", False, ""),
    ]
    assert file.categories[0].color == (9, 8, 7) and file.categories[1].color == distinct_color(7)
    assert file.images[0].size == (20, 30)
    assert file.annotations[4].segments == (
        Segment(11, category=1, area=0),
        Segment(12, category=0, area=0, iscrowd=True, score=0.5),
    )


def test_predictions_need_annotations_only(tmp_path):
    truth = read_panoptic_json(write(tmp_path / "truth.json", CONTENT))
    bare = write(tmp_path / "predictions.json", {"annotations": CONTENT["annotations"]})
    assert read_panoptic_json(bare, reference=truth) == truth


def test_an_image_may_lack_an_annotation(tmp_path):
    file = read_panoptic_json(write(tmp_path / "p.json", CONTENT | {"annotations": []}))
    assert file.annotations == {}


MISTAKES = [
    ("images", None, "the key 'images' is missing"),
    ("images", {}, "'images' is {}, but must be list"),
    ("images.0", 3, r"images\[0\]: is 3, not an object"),
    ("images.0.id", 1.5, "'id' is 1.5, but must be int or str"),
    ("images.0.id", True, "'id' is True"),
    ("images.0.width", None, "the key 'width' is missing"),
    ("images.0.height", 0, "a size of 0×30"),
    ("images.0.file_name", "../a.jpg", "leaves its folder"),
    ("images.1", CONTENT["images"][0], "image id 4 comes twice"),
    ("annotations.0.file_name", "/etc/a.png", "leaves its folder"),
    ("annotations.0.image_id", "4", "image_id '4' is not among the images"),
    ("annotations.0.segments_info", "x", "must be list"),
    ("annotations.0.segments_info.0.id", 0, "segment id 0 is outside"),
    ("annotations.0.segments_info.0.id", 2**24, "is outside"),
    ("annotations.0.segments_info.0.id", 12, "segment id 12 comes twice"),
    ("annotations.0.segments_info.0.category_id", 3, "unknown category_id 3"),
    ("annotations.0.segments_info.0.iscrowd", 2, "'iscrowd' is 2, but must be 0 or 1"),
    ("annotations.1", CONTENT["annotations"][0], "annotation of image 4 comes twice"),
    ("categories", [], "has 0 categories"),
    ("categories", [{"id": i, "name": "x", "isthing": 0} for i in range(65_536)], "has 65536 categories"),
    ("categories.1.id", 7, "category id 7 comes twice"),
    ("categories.0.id", -1, "outside 0 to"),
    ("categories.0.isthing", None, "'isthing' is None"),
    ("categories.0.name", 5, "'name' is 5, but must be str"),
    ("categories.0.color", [1, 2], "'color' is"),
    ("categories.0.color", [1, 2, 256], "'color' is"),
]


@pytest.mark.parametrize("key, value, message", MISTAKES)
def test_mistakes_are_named(tmp_path, key, value, message):
    content = copy.deepcopy(CONTENT)
    *folders, last = (int(part) if part.isdigit() else part for part in key.split("."))
    place = content
    for folder in folders:
        place = place[folder]
    if value is None:
        del place[last]
    elif last == 1:
        place[1:] = [value]
    else:
        place[last] = value
    with pytest.raises(DataError, match=message) as caught:
        read_panoptic_json(write(tmp_path / "p.json", content))
    assert str(tmp_path / "p.json") in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"images": ', "\xff"])
def test_broken_json(tmp_path, text):
    (tmp_path / "p.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match="is not valid JSON"):
        read_panoptic_json(tmp_path / "p.json")


def test_missing_json(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_panoptic_json(tmp_path / "p.json")


@pytest.mark.parametrize("name", ["a.png", "a/b.png", "a..b.png"])
def test_names_inside(name):
    assert is_inside(name)


@pytest.mark.parametrize("name", ["", "/a", "../a", "a/../../b", "..\\a", "C:\\a", "C:a", "a\0b"])
def test_names_outside(name):
    assert not is_inside(name)


def test_colours_are_distinct():
    assert len({distinct_color(i) for i in range(200)}) == 200


@pytest.mark.parametrize("score", ["NaN", "Infinity", "1e400", "9" * 400])
def test_scores_of_predictions_are_finite(tmp_path, score):
    image = {"id": 1, "file_name": "a.png", "height": 2, "width": 2}
    infos = [{"id": 5, "category_id": 1, "score": 0.5}]
    annotations = [{"image_id": 1, "file_name": "a.png", "segments_info": infos}]
    truth = {"categories": [{"id": 1, "name": "car", "isthing": 1}], "images": [image], "annotations": annotations}
    (tmp_path / "t.json").write_text(json.dumps(truth))
    (tmp_path / "p.json").write_text(json.dumps({"annotations": annotations}).replace("0.5", score))
    with pytest.raises(DataError, match="p.json: .*score"):
        read_panoptic_json(tmp_path / "p.json", reference=read_panoptic_json(tmp_path / "t.json"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file["images"][0].update(id="../a"), "'id' is '../a', which names no image"),
        (lambda file: file["images"][0].update(id=2**63), "which names no image"),
        (lambda file: file["images"][0].update(height=10**9), "178 million can be used"),
        (lambda file: file["categories"][0].update(id=2**31), "id 2147483648 is outside"),
        (lambda file: file["categories"][0].update(name="\ud800"), "half a character"),
        (lambda file: file["images"][0].update(file_name="\ud800.png"), "leaves its folder"),
    ],
)
def test_values_that_no_file_or_array_could_take(tmp_path, change, message):
    image = {"id": 1, "file_name": "a.png", "height": 2, "width": 2}
    file = {"categories": [{"id": 1, "name": "car", "isthing": 1}], "images": [image], "annotations": []}
    change(file)
    (tmp_path / "t.json").write_text(json.dumps(file))
    with pytest.raises(DataError, match=message):
        read_panoptic_json(tmp_path / "t.json")


def test_a_byte_order_mark_is_no_part_of_the_json(tmp_path):
    (tmp_path / "t.json").write_text("\ufeff" + json.dumps([1]), encoding="utf-8")
    assert load_json(tmp_path / "t.json") == [1]
