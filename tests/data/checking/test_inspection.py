import copy
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pisr_core.data.checking.findings import Kind, Severity
from pisr_core.data.checking.inspection import Pair, inspect_pair
from pisr_core.data.checking.reading.entries import AnnotationEntry, PanopticEntries
from pisr_core.data.checking.reading.splits import find_splits
from pisr_core.data.checking.segments import measure_segments
from pisr_core.data.checking.settings import suggest_settings
from pisr_core.data.checking.statistics import DatasetStatistics, nearest_centers
from pisr_core.data.coco.dataset import CocoPanopticDataset
from pisr_core.data.coco.files import id_to_rgb
from pisr_core.data.pictures.image_tensors import read_image
from pisr_core.errors import ConfigError, DataError
from pisr_core.models.center_offset.merging.grouping import find_centers
from pisr_core.structures import Category

CATEGORIES = {1: Category(1, "sky", False), 5: Category(5, "car", True), 6: Category(6, "cup", True)}
CONTENT = {
    "images": [{"id": i, "file_name": f"{i}.jpg", "height": 4, "width": 6} for i in range(3)],
    "annotations": [
        {"image_id": i, "file_name": f"{i}.png", "segments_info": [{"id": 7, "category_id": 1}]} for i in range(3)
    ],
    "categories": [{"id": 1, "name": "sky", "isthing": 0}, {"id": 5, "name": "car", "isthing": 1}],
}


def entries_of(tmp_path, content):
    (tmp_path / "p.json").write_text(json.dumps(content))
    return PanopticEntries(tmp_path / "p.json", "train")


def test_segments_by_hand():
    shapes = measure_segments(np.array([[0, 9, 9, 4], [9, 9, 0, 4], [0, 0, 0, 4]], dtype=np.int32))
    assert shapes.ids.tolist() == [0, 4, 9]
    assert shapes.areas.tolist() == [5, 3, 4]
    assert shapes.boxes.tolist() == [[0, 0, 4 - 1, 3], [3, 0, 1, 3], [0, 0, 3, 2]]
    assert shapes.centers[1].tolist() == [1, 3] and shapes.centers[2].tolist() == [0.5, 1]
    assert shapes.touching.tolist() == [[0, 1], [0, 2], [1, 2]]
    assert shapes.size == (3, 4)


@pytest.mark.parametrize("seed", range(5))
def test_segments_are_those_of_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    ids = np.kron(rng.choice([0, 3, 70_000, 2**24 - 1], (5, 7)), np.ones((2, 3), int)).astype(np.int32)
    shapes = measure_segments(ids)
    pairs = set()
    for first, second in ((ids[1:], ids[:-1]), (ids[:, 1:], ids[:, :-1])):
        pairs |= {tuple(sorted(pair)) for pair in zip(first.ravel().tolist(), second.ravel().tolist(), strict=True)}
    assert {tuple(shapes.ids[list(pair)].tolist()) for pair in shapes.touching} == {p for p in pairs if p[0] != p[1]}
    for row, segment_id in enumerate(shapes.ids):
        y, x = np.nonzero(ids == segment_id)
        assert shapes.areas[row] == len(y)
        assert shapes.centers[row] == pytest.approx([y.mean(), x.mean()])
        assert shapes.boxes[row].tolist() == [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]


def test_good_entries_give_no_finding(tmp_path):
    entries = entries_of(tmp_path, CONTENT)
    assert entries.findings == [] and len(entries.images) == len(entries.annotations) == 3


EDITS = [
    (lambda c: c.pop("images"), Kind.JSON_BROKEN),
    (lambda c: c.update(annotations={}), Kind.JSON_BROKEN),
    (lambda c: c.update(images=[], annotations=[]), Kind.SPLIT_EMPTY),
    (lambda c: c.update(categories=[], annotations=[]), Kind.SPLIT_EMPTY),
    (lambda c: c["images"].append(3), Kind.ENTRY_BROKEN),
    (lambda c: c["images"][1].update(width=math.nan), Kind.ENTRY_BROKEN),
    (lambda c: c["images"][1].update(height=0), Kind.ENTRY_BROKEN),
    (lambda c: c["images"][1].update(file_name="../x.jpg"), Kind.NAME_OUTSIDE),
    (lambda c: c["images"][1].update(file_name=["x"]), Kind.ENTRY_BROKEN),
    (lambda c: c["images"].append(c["images"][0]), Kind.ID_REPEATED),
    (lambda c: c["annotations"][1].update(file_name="C:\\x.png"), Kind.NAME_OUTSIDE),
    (lambda c: c["annotations"][1].update(segments_info=None), Kind.ENTRY_BROKEN),
    (lambda c: c["annotations"][1].update(image_id=[]), Kind.ENTRY_BROKEN),
    (lambda c: c["annotations"][1].update(image_id=99), Kind.ANNOTATION_ORPHAN),
    (lambda c: c["annotations"].append(c["annotations"][0]), Kind.ID_REPEATED),
    (lambda c: c["annotations"][1]["segments_info"].append(None), Kind.ENTRY_BROKEN),
    (lambda c: c["annotations"][1]["segments_info"][0].update(id=2**24), Kind.ENTRY_BROKEN),
    (lambda c: c["annotations"][1]["segments_info"][0].update(iscrowd=3), Kind.ENTRY_BROKEN),
    (lambda c: c["annotations"][1]["segments_info"][0].update(category_id=77), Kind.CATEGORY_UNKNOWN),
    (lambda c: c["annotations"][1]["segments_info"].append({"id": 7, "category_id": 5}), Kind.ID_REPEATED),
    (lambda c: c["categories"][1].pop("isthing"), Kind.ENTRY_BROKEN),
    (lambda c: c["categories"].append(c["categories"][0]), Kind.ID_REPEATED),
    (lambda c: c["categories"][1].update(id=[]), Kind.ENTRY_BROKEN),
]


@pytest.mark.parametrize(("edit", "kind"), EDITS)
def test_what_the_strict_reader_refuses_is_an_error(tmp_path, edit, kind):
    content = copy.deepcopy(CONTENT)
    edit(content)
    entries = entries_of(tmp_path, content)
    errors = [finding.kind for finding in entries.findings if finding.kind.severity is Severity.ERROR]
    assert errors == [kind]
    with pytest.raises(DataError):
        CocoPanopticDataset(tmp_path, tmp_path / "p.json", tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '"x"', "[" * 100_000])
def test_broken_json(tmp_path, text):
    (tmp_path / "p.json").write_text(text)
    assert {f.kind for f in PanopticEntries(tmp_path / "p.json", "train").findings} >= {Kind.JSON_BROKEN}


def test_a_broken_entry_hides_no_other(tmp_path):
    content = copy.deepcopy(CONTENT)
    content["annotations"][0]["segments_info"] = 3
    content["annotations"][2]["segments_info"][0]["category_id"] = 8
    content["images"][1]["width"] = "6"
    entries = entries_of(tmp_path, content)
    assert {f.kind for f in entries.findings} == {Kind.ENTRY_BROKEN, Kind.CATEGORY_UNKNOWN}
    assert {f.entry for f in entries.findings} == {("annotations", 0), ("annotations", 2), ("images", 1)}


def test_numbers_that_json_lacks_are_named(tmp_path):
    content = copy.deepcopy(CONTENT)
    content["annotations"][2]["segments_info"][0]["area"] = math.inf
    (finding,) = entries_of(tmp_path, content).findings
    assert (finding.kind, finding.detail) == (Kind.NUMBER_INVALID, "annotations[2].segments_info[0].area")


def pair(tmp_path, size=(24, 32), annotation=None):
    png_path = tmp_path / annotation.file_name if annotation else None
    return Pair("train", 0, tmp_path / "a.jpg", size, png_path, annotation)


def kinds(inspection):
    return [finding.kind for finding in inspection.findings]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_is_broken_exactly_where_training_stops(tmp_path, mode):
    channels = {"RGB": 3, "L": 1, "CMYK": 4}[mode]
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, channels), np.uint8).squeeze()
    Image.fromarray(pixels, mode).save(tmp_path / "a.jpg", progressive=mode == "RGB")
    content = (tmp_path / "a.jpg").read_bytes()
    verdicts = set()
    for length in (*range(0, len(content), len(content) // 60), len(content) - 3, len(content)):
        (tmp_path / "a.jpg").write_bytes(content[:length])
        try:
            read_image(tmp_path / "a.jpg", (24, 32))
            readable = True
        except DataError:
            readable = False
        assert kinds(inspect_pair(pair(tmp_path))) == ([] if readable else [Kind.IMAGE_BROKEN])
        verdicts.add(readable)
    assert verdicts == {True, False}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(24, 32), (32, 24), (24, 24)])
def test_exif_is_judged_as_training_reads_it(tmp_path, orientation, size):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (32, 24)).save(tmp_path / "a.jpg", exif=exif)
    found = kinds(inspect_pair(pair(tmp_path, size)))
    try:
        read_image(tmp_path / "a.jpg", size)
        assert Kind.IMAGE_SIZE not in found
        expected = {1: [], 2: [Kind.EXIF_AMBIGUOUS], 3: [Kind.EXIF_AMBIGUOUS], 4: [Kind.EXIF_AMBIGUOUS]}
        assert found == expected.get(orientation, [Kind.EXIF_TURNED])
    except DataError:
        assert found == [Kind.IMAGE_SIZE]


def test_boxes_may_be_a_pixel_off(tmp_path):
    Image.new("RGB", (8, 4)).save(tmp_path / "a.jpg")
    ids = np.zeros((4, 8), np.int32)
    ids[1:3, 2:6] = 9
    Image.fromarray(id_to_rgb(ids)).save(tmp_path / "a.png")

    def found(box, area=8):
        info = {"id": 9, "category_id": 1, "area": area, "bbox": box}
        return kinds(inspect_pair(pair(tmp_path, (4, 8), AnnotationEntry.of(0, 1, "a.png", (info,), {9}))))

    assert found([2, 1, 4, 2]) == found([2, 1, 3.0, 1]) == []
    assert found([2, 1, 6, 2]) == found([2, 1, 4]) == found("box") == [Kind.BOX_WRONG]
    assert found([2, 1, 4, 2], area=9) == [Kind.AREA_WRONG]


def test_statistics_by_hand():
    ids = np.array([[1, 1, 1, 1], [2, 3, 4, 0], [2, 3, 4, 0]], dtype=np.int32)
    infos = [
        {"id": 1, "category_id": 1},
        {"id": 2, "category_id": 5},
        {"id": 3, "category_id": 5},
        {"id": 4, "category_id": 6, "iscrowd": 1},
        {"id": 5, "category_id": 6},
    ]
    statistics = DatasetStatistics(CATEGORIES)
    for _ in range(2):
        statistics.add(infos, measure_segments(ids))
    document = statistics.to_json()
    cars, cups = document["classes"][1:]
    assert cars == {"id": 5, "name": "car", "isthing": 1, "images": 2, "segments": 4, "crowds": 0, "pixels": 8}
    assert (cups["images"], cups["segments"], cups["crowds"]) == (2, 2, 2)
    assert document["void_share"] == pytest.approx(2 / 12)
    assert document["instances"] == {
        "count": 4,
        "most_in_an_image": 2,
        "tiny": 4,
        "small": 4,
        "touching_pairs_of_one_class": 2,
        "median_area": 2,
        "median_center_distance": 1,
    }
    assert statistics.stuff_shares == pytest.approx([1 / 3, 1 / 3])


def test_nearest_centers_by_hand():
    assert nearest_centers(np.array([[0.0, 0], [3, 4], [30, 4]])) == [(5, 4), (5, 4), (27, 27)]
    assert nearest_centers(np.array([[1.0, 2]])) == []


def suggested(**changes):
    statistics = DatasetStatistics(CATEGORIES)
    for name, value in changes.items():
        setattr(statistics, name, value)
    return {suggestion.key: suggestion for suggestion in suggest_settings(statistics, [])}


def suggested_values(**changes):
    return {key: suggestion.value for key, suggestion in suggested(**changes).items()}


@pytest.mark.parametrize(
    ("sizes", "crop"),
    [
        ({(480, 640): 9, (640, 480): 4}, [640, 640]),
        ({(1024, 2048): 5}, [512, 1024]),
        ({(360, 480): 5}, [384, 480]),
        ({(10, 20): 1}, [32, 32]),
    ],
)
def test_suggested_crop(sizes, crop):
    assert suggested_values(sizes=Counter(sizes)) == {"data.crop": crop}


@pytest.mark.parametrize(("distance", "sigma", "kernel"), [(4, 4, 7), (20, 8, 39), (100, 10, 41)])
def test_suggested_sigma_and_window(distance, sigma, kernel):
    values = suggested_values(
        center_distances=[(distance, distance)] * 30, instance_areas=[10_000] * 30, instances_per_image=[3]
    )
    assert values["targets.sigma"] == sigma and values["merge.nms_kernel"] == kernel
    assert values["targets.small_instance_area"] == 10_000


def test_a_suggested_window_keeps_neighbours_apart():
    for distance in (2, 3, 5, 8):
        changes = {"center_distances": [(float(distance), float(distance))] * 30, "instance_areas": [400] * 30}
        kernel = suggested_values(**changes, instances_per_image=[2])["merge.nms_kernel"]
        heatmap = torch.zeros(40, 40)
        heatmap[20, 10], heatmap[20, 10 + distance] = 0.9, 0.8
        assert len(find_centers(heatmap, 0.1, kernel, 10)) == 2


@pytest.mark.parametrize(
    ("most", "top_k", "reason"),
    [
        (1, 20, "twice that, from 20 to 200"),
        (30, 60, "twice that, from 20 to 200"),
        (95, 200, "twice that, from 20 to 200"),
        (150, 200, "200, as in the paper, has room for all"),
        (333, 340, "each has its place; the paper's 200 takes less memory"),
    ],
)
def test_suggested_number_of_instances(most, top_k, reason):
    suggestions = suggested(instance_areas=[50] * 30, instances_per_image=[most])
    assert suggestions["relation.top_k"].value == top_k
    assert f"at most {most} instances in an image; {reason}" in suggestions["relation.top_k"].reason
    assert ("merge.top_k" in suggestions) == (most > 200)
    assert most <= 200 or suggestions["merge.top_k"].value == top_k


def test_suggested_stuff_area_is_below_most_stuff():
    assert suggested_values(stuff_shares=[0.0034] * 5 + [0.2] * 95)["merge.stuff_area"] == pytest.approx(
        4096 / 307_200, abs=4e-3
    )
    assert suggested_values(stuff_shares=[0.0034] * 100)["merge.stuff_area"] == 0.003
    assert "merge.stuff_area" not in suggested(stuff_shares=[0.1] * 3)


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.label)
def test_the_documentation_has_every_kind(kind):
    page = (Path(__file__).parents[3] / "docs" / "check.md").read_text(encoding="utf-8")
    assert f"| `{kind.label}` | {kind.severity} | {kind.meaning} | {kind.cure} |" in page


def test_splits_are_found(custom_root):
    assert [source.name for source in find_splits(custom_root)] == ["train", "val"]
    assert [source.name for source in find_splits(custom_root, names=["val"])] == ["val"]
    with pytest.raises(DataError, match="panoptic_test.json"):
        find_splits(custom_root, names=["test"])
    with pytest.raises(DataError, match="panoptic_train2017.json"):
        find_splits(custom_root, "coco")
    with pytest.raises(ConfigError, match="custom, coco, cityscapes, ade20k"):
        find_splits(custom_root, "scenes")


def test_cityscapes_images_lie_below_their_city(tmp_path, write_split):
    names = ["a_0_gtFine_leftImg8bit.png"]
    write_split(
        tmp_path / "x",
        tmp_path / "gtFine/cityscapes_panoptic_val.json",
        tmp_path / "gtFine/cityscapes_panoptic_val",
        names,
    )
    (source,) = find_splits(tmp_path)
    assert source.image_path(names[0]) == tmp_path / "leftImg8bit/val/a/a_0_leftImg8bit.png"
