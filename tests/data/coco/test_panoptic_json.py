import json
import pickle
import random

import pytest

from pisr_core.data.coco import json_files, panoptic_json
from pisr_core.data.coco.panoptic_json import read_panoptic_json
from pisr_core.data.coco.tables import NO_AREA
from pisr_core.errors import DataError
from pisr_core.structures import Segment

CATEGORIES = [{"id": 3 * i + 1, "name": f"class {i}", "isthing": i % 2} for i in range(9)]


def content(count, seed=0, text_ids=False):
    """Images of which one in five has no annotation, and the annotations in another order."""
    rng = random.Random(seed)
    ids = [f"city_{i:03}" if text_ids else 7 * i - 5 for i in range(count)]
    images = [{"id": i, "file_name": f"{i}.jpg", "height": 2 + n, "width": 3, "url": "x"} for n, i in enumerate(ids)]
    annotations = []
    for image_id in rng.sample(ids, count * 4 // 5):
        infos = [
            {"id": segment_id, "category_id": rng.choice(CATEGORIES)["id"], "area": rng.randrange(900), "bbox": [0]}
            for segment_id in rng.sample(range(1, 2**24), rng.randrange(6))
        ]
        annotations.append({"image_id": image_id, "file_name": f"{image_id}.png", "segments_info": infos})
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


def expected(content):
    """The annotations as records' values, straight from the dictionaries."""
    return {
        entry["image_id"]: (
            entry["file_name"],
            tuple(
                Segment(info["id"], info["category_id"] // 3, 0, bool(info.get("iscrowd")), float(info.get("score", 1)))
                for info in entry["segments_info"]
            ),
        )
        for entry in content["annotations"]
    }


def check(tmp_path, content, text=None):
    path = tmp_path / "p.json"
    path.write_text(text or json.dumps(content))
    file = read_panoptic_json(path)
    assert [(i.id, i.file_name, i.size[0]) for i in file.images] == [
        (entry["id"], entry["file_name"], entry["height"]) for entry in content["images"]
    ]
    assert {k: (record.file_name, record.segments) for k, record in file.annotations.items()} == expected(content)
    assert list(file.annotations) == [entry["image_id"] for entry in content["annotations"]]
    listed = {entry["image_id"]: entry["segments_info"] for entry in content["annotations"]}
    for position, image in enumerate(file.images):
        record = file.annotations.of_image(position)
        assert record == file.annotations.get(image.id) and (record is None) == (image.id not in listed)
        if record is not None:
            areas = [info.get("area") for info in listed[image.id]]
            known = [area if isinstance(area, int) else NO_AREA for area in areas]
            assert file.annotations.listed_areas(position).tolist() == known
    assert pickle.loads(pickle.dumps(file)) == file
    return file


@pytest.mark.parametrize("text_ids", [False, True])
@pytest.mark.parametrize("at_once", [3, 1024])
def test_the_tables_hold_what_the_file_says(tmp_path, monkeypatch, text_ids, at_once):
    monkeypatch.setattr(json_files, "ENTRIES_AT_ONCE", at_once)
    check(tmp_path, content(23, text_ids=text_ids))


UNUSUAL = [
    lambda info: info.update(iscrowd=True),
    lambda info: info.update(iscrowd=1, score=0.25),
    lambda info: info.update(score=1),
    lambda info: info.update(area=2.5),
    lambda info: info.update(area=None),
    lambda info: info.update(area="many"),
    lambda info: info.pop("area"),
    lambda info: info.update(area=True),
    lambda info: info.update(unread="\ud800"),
    lambda info: info.update(unread=float("nan")),
    lambda info: info.update(unread=10**400),
]


@pytest.mark.parametrize("change", UNUSUAL)
def test_unusual_entries_change_nothing_else(tmp_path, monkeypatch, change):
    monkeypatch.setattr(json_files, "ENTRIES_AT_ONCE", 4)
    changed = content(12)
    change(next(entry for entry in changed["annotations"] if entry["segments_info"])["segments_info"][0])
    check(tmp_path, changed)


def test_nothing_is_parsed_entry_by_entry_where_all_is_usual(tmp_path, monkeypatch):
    for name in ("parse_image", "parse_annotation"):
        monkeypatch.setattr(panoptic_json, name, None)
    check(tmp_path, content(50))


def test_mixed_ids_and_names_beyond_ascii(tmp_path):
    changed = content(6)
    for entries, key in ((changed["images"], "id"), (changed["annotations"], "image_id")):
        for entry in entries:
            if entry[key] == 2:
                entry[key], entry["file_name"] = "2", "straße/東.png"
    check(tmp_path, changed)


def test_the_entry_is_named_wherever_it_stands(tmp_path, monkeypatch):
    monkeypatch.setattr(json_files, "ENTRIES_AT_ONCE", 4)
    changed = content(20)
    changed["annotations"][10]["segments_info"] = [{"id": 5, "category_id": 2}]
    (tmp_path / "p.json").write_text(json.dumps(changed))
    with pytest.raises(DataError, match=r"p.json: annotations\[10\]: segments_info: .* unknown category_id 2"):
        read_panoptic_json(tmp_path / "p.json")


def test_no_python_object_stays_for_each_entry(tmp_path):
    """Twenty times the entries pickle in the same number of objects: arrays, not records."""
    sizes = []
    for count in (50, 1000):
        (tmp_path / "p.json").write_text(json.dumps(content(count)))
        file = read_panoptic_json(tmp_path / "p.json")
        buffers = []
        opcodes = pickle.dumps(file, protocol=5, buffer_callback=buffers.append)
        sizes.append((len(buffers), len(opcodes)))
    assert sizes[0][0] == sizes[1][0] and sizes[1][1] < sizes[0][1] + 100
