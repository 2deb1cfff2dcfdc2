"""Faults that all PNGs of a split share: named once, mended, and right afterwards."""

import json

import numpy as np
import pytest
from PIL import Image

from pisr_core.config import DataConfig
from pisr_core.data import build_dataset
from pisr_core.data.checking.check import check_data
from pisr_core.data.checking.findings import Kind
from pisr_core.data.checking.reading.splits import find_splits
from pisr_core.data.coco.files import CocoPanopticWriter, read_panoptic_png, write_panoptic_png
from pisr_core.errors import ConfigError, DataError
from pisr_core.structures import Category, PanopticSegmentation, Segment

CATEGORIES = (Category(3, "sky", False), Category(5, "car", True), Category(8, "bus", True))
SIZE = (12, 16)
COUNT = 6


def panoptic(number, ids):
    """Sky with a car that grows from image to image and a bus; all pixels are labelled."""
    sky, car, bus = ids
    pixels = np.full(SIZE, sky, np.int32)
    pixels[:4, : 2 + number] = car
    pixels[6:, 4:9] = bus
    return PanopticSegmentation(pixels, (Segment(sky, 0, 0), Segment(car, 1, 0), Segment(bus, 2, 0)))


@pytest.fixture
def make(tmp_path):
    """Writes a split; `ids` gives each image's segment ids (sky, car, bus), without `area` if that is wanted."""

    def write(ids=lambda number: (1, 2, 3), areas=True):
        json_path = tmp_path / "annotations" / "panoptic_train.json"
        (tmp_path / "train").mkdir()
        with CocoPanopticWriter(json_path, json_path.with_suffix(""), CATEGORIES) as writer:
            for number in range(COUNT):
                Image.new("RGB", SIZE[::-1], (number, 0, 0)).save(tmp_path / "train" / f"{number}.png")
                writer.add(number, f"{number}.png", panoptic(number, ids(number)))
        if not areas:
            content = json.loads(json_path.read_text())
            for annotation in content["annotations"]:
                for info in annotation["segments_info"]:
                    del info["area"], info["bbox"]
            json_path.write_text(json.dumps(content))
        return tmp_path

    return write


def spoil(root, change):
    """Writes every PNG anew with `change(ids, number)`."""
    for number in range(COUNT):
        path = root / "annotations" / "panoptic_train" / f"{number}.png"
        write_panoptic_png(path, change(read_panoptic_png(path), number))


def exchange(ids, number):
    return (ids & 255) << 16 | ids & 0xFF00 | ids >> 16


def check_and_mend(root):
    """The kinds that were found, and the report on what was mended."""
    sources = find_splits(root, names=["train"])
    report = check_data(sources, mend_into=root / "new" / "mended.json")
    pngs = report.mended_pngs or sources[0].paths.png_dir
    folder = root / "annotations"
    (folder / "panoptic_train").rename(folder / "old")
    (folder / "panoptic_train.json").unlink()
    (folder / "old" if pngs == sources[0].paths.png_dir else pngs).rename(folder / "panoptic_train")
    (root / "new" / "mended.json").rename(folder / "panoptic_train.json")
    return [finding.kind for finding in report.findings if finding.kind is not Kind.AREA_MISSING], report


def check_right(root, ids=lambda number: (1, 2, 3)):
    """The split trains, with the maps that it should have, and nothing is found any more."""
    dataset = build_dataset(DataConfig(), "train", root)
    for number in range(COUNT):
        expected = panoptic(number, ids(number))
        assert (dataset[number].panoptic.ids == expected.ids).all()
        assert [segment.category for segment in dataset[number].panoptic.segments] == [0, 1, 2]
    assert [f.kind for f in check_data(find_splits(root, names=["train"])).findings] == []


@pytest.mark.parametrize("areas", [True, False])
@pytest.mark.parametrize(
    ("kind", "meaning", "change"),
    [
        (Kind.CHANNELS_SWAPPED, "red and blue are exchanged", exchange),
        (Kind.IDS_SHIFTED, "their ids are one too low", lambda ids, number: ids - 1),
        (Kind.IDS_SHIFTED, "their ids are one too high", lambda ids, number: ids + 1),
        (Kind.CATEGORY_IDS, "those of the categories", lambda ids, number: np.array([0, 3, 5, 8])[ids]),
    ],
)
def test_one_fault_in_all_pngs(make, areas, kind, meaning, change):
    root = make(areas=areas)
    spoil(root, change)
    kinds, report = check_and_mend(root)
    assert kinds == [kind]
    (finding,) = [finding for finding in report.findings if finding.kind is kind]
    assert meaning in finding.detail and f"{COUNT} of {COUNT} PNGs" in finding.detail
    assert report.changes[f"PNGs: ids corrected ({finding.detail.partition(':')[0]})"] == COUNT
    assert report.statistics.classes[3].pixels == sum((panoptic(n, (1, 2, 3)).ids == 1).sum() for n in range(COUNT))
    check_right(root)


def test_category_ids_that_happen_to_be_listed(make):
    """Segments 5, 8 and 3 of categories 3, 5 and 8: only their areas tell that the PNG has categories."""
    root = make(ids=lambda number: (5, 8, 3))
    table = np.zeros(9, np.int32)
    table[[5, 8, 3]] = 3, 5, 8
    spoil(root, lambda ids, number: table[ids])
    kinds, _ = check_and_mend(root)
    assert kinds == [Kind.CATEGORY_IDS]
    check_right(root, ids=lambda number: (5, 8, 3))


def test_category_ids_of_several_instances_need_a_person(make):
    root = make()
    json_path = root / "annotations" / "panoptic_train.json"
    content = json.loads(json_path.read_text())
    for info in (annotation["segments_info"][2] for annotation in content["annotations"][:2]):
        info["category_id"] = 5
    json_path.write_text(json.dumps(content))
    spoil(root, lambda ids, number: np.array([0, 3, 5, 5 if number < 2 else 8])[ids])
    report = check_data(find_splits(root, names=["train"]), mend_into=root / "new.json")
    details = [finding.detail for finding in report.findings if finding.kind is Kind.CATEGORY_IDS]
    assert [detail.startswith("several segments of one category") for detail in details].count(True) == 2
    assert report.changes["PNGs: ids corrected (their ids are those of the categories)"] == COUNT - 2
    assert (read_panoptic_png(root / "new" / "0.png") == np.isin(panoptic(0, (3, 5, 5)).ids, 5) * 2 + 3).all()


@pytest.mark.parametrize(
    ("areas", "ids"), [(True, lambda number: (1, 2, 3)), (False, lambda number: (1, 10 + number, 20 + number))]
)
def test_pngs_of_other_images(make, areas, ids):
    """Names that were shifted by one; the last PNG has the first name."""
    root = make(ids, areas)
    maps = [panoptic(number, ids(number)).ids for number in range(COUNT)]
    spoil(root, lambda own, number: maps[number - 1])
    kinds, report = check_and_mend(root)
    assert kinds == [Kind.PNG_EXCHANGED] and report.mended_pngs is None
    assert report.changes["annotations: file names corrected"] == COUNT
    names = [
        entry["file_name"]
        for entry in json.loads((root / "annotations/panoptic_train.json").read_text())["annotations"]
    ]
    assert names == ["1.png", "2.png", "3.png", "4.png", "5.png", "0.png"]
    check_right(root, ids)


def test_mended_pngs_stay_in_their_folder(make):
    """A second annotation of an image, one without it and one that is no object need a person."""
    root = make()
    json_path = root / "annotations" / "panoptic_train.json"
    content = json.loads(json_path.read_text())
    content["annotations"] += [content["annotations"][0] | {"file_name": "../out.png"}, {"file_name": "a.png"}, 7]
    json_path.write_text(json.dumps(content))
    spoil(root, exchange)
    report = check_data(find_splits(root, names=["train"]), mend_into=root / "new" / "mended.json")
    assert sorted(path.name for path in report.mended_pngs.iterdir()) == [f"{number}.png" for number in range(COUNT)]
    assert not (root / "new" / "out.png").exists()


def test_single_faults_stay_single(make):
    root = make()
    spoil(root, lambda ids, number: exchange(ids, number) if number < 3 else ids)
    kinds = [finding.kind for finding in check_data(find_splits(root, names=["train"])).findings]
    assert kinds == [Kind.SEGMENT_UNLISTED] * 3 + [Kind.SEGMENT_EMPTY] * 3


def test_wrong_areas_do_not_hide_the_cause(make):
    root = make()
    json_path = root / "annotations" / "panoptic_train.json"
    json_path.write_text(json_path.read_text().replace('"area": ', '"area": 1'))
    spoil(root, exchange)
    kinds = {finding.kind for finding in check_data(find_splits(root, names=["train"])).findings}
    assert kinds == {Kind.CHANNELS_SWAPPED, Kind.AREA_WRONG}


def test_mended_pngs_need_a_free_folder(make):
    root = make()
    with pytest.raises(DataError, match="panoptic_train: exists already"):
        check_data(find_splits(root, names=["train"]), mend_into=root / "annotations" / "panoptic_train.JSON")
    with pytest.raises(ConfigError, match="ends in .json"):
        check_data(find_splits(root, names=["train"]), mend_into=root / "mended")
