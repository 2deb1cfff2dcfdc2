import json
import pickle
import tracemalloc

import pytest

from pisr_core.data.coco.instances_json import read_coco_file
from pisr_core.errors import DataError

CATEGORIES = [{"id": 3, "name": "car"}, {"id": 1, "name": "person"}]


def entry(number, image_id, category_id=1, **others):
    return {"id": number, "image_id": image_id, "category_id": category_id, "segmentation": [], **others}


def write(path, annotations, ids=(7, 5, 9)):
    images = [{"id": i, "file_name": f"{i}.jpg", "height": 4, "width": 6} for i in ids]
    path.write_text(json.dumps({"images": images, "categories": CATEGORIES, "annotations": annotations}))
    return path


@pytest.mark.parametrize("odd", [{}, {"score": float("nan")}])
def test_each_image_gets_its_own_entries(tmp_path, odd):
    """Whatever their order; NaN, which is no JSON, is read in another way."""
    entries = [entry(1, 9, 3), entry(2, 7), entry(3, 9, 1, iscrowd=1), entry(4, 7, segmentation=None)]
    file = read_coco_file(write(tmp_path / "i.json", [entries[0] | odd, *entries[1:]]), isthing=True)
    assert [category.id for category in file.categories] == [1, 3] and all(c.isthing for c in file.categories)
    for copy in (file, pickle.loads(pickle.dumps(file))):
        found = {image.id: [e["id"] for e in copy.entries(image.id)] for image in copy.images}
        assert found == {7: [2, 4], 5: [], 9: [1, 3]} and copy.entries(8) == []
        assert copy.entries(7) == [entries[1], entries[3]]


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (entry(1, 8), "unknown image_id 8"),
        (entry(1, 7, 2), "unknown category_id 2"),
        ({"image_id": 7, "category_id": 1}, "lacks what COCO's format of instances has .*segmentation"),
        (entry(1, 7, [3]), "lacks what COCO's format of instances has"),
    ],
)
def test_mistakes_are_named(tmp_path, annotation, message):
    with pytest.raises(DataError, match=f"i.json: .*{message}"):
        read_coco_file(write(tmp_path / "i.json", [entry(1, 7), annotation]), isthing=True)


def test_what_has_no_mask_may_belong_nowhere(tmp_path):
    file = read_coco_file(write(tmp_path / "i.json", [entry(1, 8, segmentation=None), entry(2, 5)]), isthing=False)
    assert [e["id"] for image in file.images for e in file.entries(image.id)] == [2]


def test_entries_stay_in_the_file(tmp_path):
    """Opening a file takes much less memory than it has bytes."""
    polygon = [[i / 8 for i in range(300)]]
    entries = [entry(number, 7, segmentation=polygon) for number in range(4000)]
    path = write(tmp_path / "i.json", entries)
    tracemalloc.start()
    try:
        file = read_coco_file(path, isthing=True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 8_000_000 and peak < 4_000_000
    assert len(file.entries(7)) == 4000
