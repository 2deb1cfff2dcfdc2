import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pisr_core.config import DataConfig
from pisr_core.data import build_dataset
from pisr_core.data.checking import check as checking
from pisr_core.data.checking.check import check_data
from pisr_core.data.checking.findings import Kind, Severity
from pisr_core.data.checking.reading.splits import find_splits
from pisr_core.data.coco.files import CocoPanopticWriter, id_to_rgb
from pisr_core.errors import ConfigError, DataError
from pisr_core.structures import Category, PanopticSegmentation, Segment

CATEGORIES = (Category(2, "road", False), Category(4, "sky", False), Category(7, "car", True), Category(9, "cup", True))
SIZE = (24, 32)
IMAGES = {"train": 56, "val": 6}


def panoptic_ids():
    ids = np.zeros(SIZE, dtype=np.int32)
    ids[:8], ids[8:22] = 11, 12
    ids[4:12, 2:9], ids[4:12, 9:15], ids[14:20, 20:29] = 300, 301, 70_000
    return ids


@pytest.fixture
def root(tmp_path):
    """A clean dataset: noise as images; sky, road, two cars that touch and a cup in each."""
    rng = np.random.default_rng(0)
    classes = {11: 1, 12: 0, 300: 2, 301: 2, 70_000: 3}
    panoptic = PanopticSegmentation(panoptic_ids(), tuple(Segment(i, c, 0) for i, c in classes.items()))
    for split, count in IMAGES.items():
        (tmp_path / split).mkdir()
        json_path = tmp_path / "annotations" / f"panoptic_{split}.json"
        with CocoPanopticWriter(json_path, json_path.with_suffix(""), CATEGORIES) as writer:
            for number in range(count):
                pixels = rng.integers(0, 255, (*SIZE, 3), np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / f"{number:02d}.jpg")
                writer.add(number, f"{number:02d}.jpg", panoptic)
    return tmp_path


class Planter:
    """Plants faults in the training split, each at an image of its own, and keeps what must be found."""

    def __init__(self, root):
        self.images, self.pngs = root / "train", root / "annotations" / "panoptic_train"
        self.val_images = root / "val"
        self.json_path = root / "annotations" / "panoptic_train.json"
        self.content = json.loads(self.json_path.read_text())
        self.expected = []
        self.number = -1

    def next(self, kind, ending):
        """The next image's number; `kind` will be found in its file with that ending, or in its entry."""
        self.number += 1
        self.expected.append((kind, f"{self.number:02d}.{ending}"))
        return self.number

    def annotation(self, kind):
        return self.content["annotations"][self.next(kind, "png")]

    def segments(self, kind):
        return self.annotation(kind)["segments_info"]

    def image(self, kind):
        return self.images / f"{self.next(kind, 'jpg'):02d}.jpg"

    def png(self, kind):
        return self.pngs / f"{self.next(kind, 'png'):02d}.png"

    def plant(self):
        self.plant_in_segments()
        self.plant_in_entries()
        self.plant_in_images()
        self.plant_in_pngs()
        self.json_path.write_text(json.dumps(self.content))

    def plant_in_segments(self):
        for area in (0, -5, "12", None):
            self.segments(Kind.AREA_WRONG)[0]["area"] = area
        for box in ([0, 0, 1, 1], [0, 0, 32], "box"):
            self.segments(Kind.BOX_WRONG)[1]["bbox"] = box
        for position in (0, 3):
            segment = self.segments(Kind.ISTHING_DIFFERS)[position]
            segment["isthing"] = 1 - segment["isthing"]
        for segment_id in (5, 2**24 - 1):
            self.segments(Kind.SEGMENT_EMPTY).append(
                {"id": segment_id, "category_id": 9, "area": 3, "bbox": [0, 0, 3, 1]}
            )
        for position in (0, 2, 4):
            del self.segments(Kind.SEGMENT_UNLISTED)[position]
        for category_id in (0, 3, 1000):
            self.segments(Kind.CATEGORY_UNKNOWN)[2]["category_id"] = category_id
        segments = self.segments(Kind.ID_REPEATED)
        segments.append(dict(segments[0]))
        for position in (2, 3):
            self.segments(Kind.STUFF_SPLIT)[position].update(category_id=4, isthing=0)
        self.segments(Kind.ENTRY_BROKEN)[0]["iscrowd"] = 7
        self.segments(Kind.ENTRY_BROKEN)[0]["id"] = "11"
        self.expected += [(Kind.SEGMENT_UNLISTED, self.expected[-1][1])]  # id 11 is listed nowhere now

    def plant_in_entries(self):
        self.content["annotations"].append(copy.deepcopy(self.annotation(Kind.ID_REPEATED)))
        self.content["annotations"].append(self.annotation(Kind.ANNOTATION_ORPHAN) | {"image_id": 999})
        self.expected.append((Kind.NAME_REPEATED, self.expected[-1][1]))
        for name in ("../up.jpg", "/etc/passwd"):
            self.content["images"][self.number + 1]["file_name"] = name
            self.next(Kind.NAME_OUTSIDE, "jpg")
            self.expected[-1] = (Kind.NAME_OUTSIDE, name)
        del self.content["images"][self.next(Kind.ENTRY_BROKEN, "jpg")]["width"]
        gone = self.next(Kind.ANNOTATION_MISSING, "jpg")
        self.content["annotations"] = [a for a in self.content["annotations"] if a["image_id"] != gone]
        self.content["annotations"][0]["segments_info"][0]["score"] = math.nan
        self.expected.append((Kind.NUMBER_INVALID, "annotations[0].segments_info[0].score"))

    def plant_in_images(self):
        for _ in range(2):
            self.image(Kind.IMAGE_MISSING).unlink()
        for share in (0, 0.4, 0.9):
            path = self.image(Kind.IMAGE_BROKEN)
            path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        self.image(Kind.IMAGE_BROKEN).write_text("no image")
        for size in ((32, 25), (24, 32)):
            Image.new("RGB", size).save(self.image(Kind.IMAGE_SIZE))
        exif = Image.Exif()
        exif[0x0112] = 3
        Image.new("RGB", SIZE[::-1]).save(self.image(Kind.EXIF_AMBIGUOUS), exif=exif)
        first = self.images / f"{self.number:02d}.jpg"
        self.image(Kind.IMAGE_REPEATED).write_bytes(first.read_bytes())
        self.expected.append((Kind.EXIF_AMBIGUOUS, self.expected[-1][1]))
        leaked = self.image(Kind.IMAGE_LEAKED)
        self.expected[-1] = (Kind.IMAGE_LEAKED, "val/03.jpg")
        (self.val_images / "03.jpg").write_bytes(leaked.read_bytes())

    def plant_in_pngs(self):
        for _ in range(2):
            self.png(Kind.PNG_MISSING).unlink()
        for share in (0, 0.2, 0.7):
            path = self.png(Kind.PNG_BROKEN)
            path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        for mode in ("P", "LA", "I;16"):
            Image.new(mode, SIZE[::-1]).save(self.png(Kind.PNG_MODE))
        Image.fromarray(id_to_rgb(panoptic_ids()[:20])).save(self.png(Kind.PNG_SIZE))
        path = self.png(Kind.ALL_VOID)
        Image.new("RGB", SIZE[::-1]).save(path)
        by_name = {annotation["file_name"]: annotation for annotation in self.content["annotations"]}
        by_name[path.name]["segments_info"] = []


def severe(report):
    return [finding for finding in report.findings if finding.kind.severity is not Severity.NOTE]


def test_a_clean_set_gives_no_alarm(root):
    report = check_data(find_splits(root))
    assert report.findings == () and report.images == sum(IMAGES.values())
    document = report.to_json()
    assert document["errors"] == 0 and document["statistics"]["classes"][2]["segments"] == 2 * report.images
    assert document["statistics"]["instances"]["touching_pairs_of_one_class"] == report.images


def test_all_planted_faults_are_found_and_nothing_else(root):
    planter = Planter(root)
    planter.plant()
    assert planter.number < IMAGES["train"]
    assert len(planter.expected) >= 40 and len({kind for kind, _ in planter.expected}) >= 15
    found = severe(check_data(find_splits(root)))
    left = list(planter.expected)
    for finding in found:
        matching = [e for e in left if e[0] is finding.kind and e[1] in f"{finding.file} {finding.detail}"]
        assert matching, f"a false alarm: {finding}"
        left.remove(matching[0])
    assert left == [], "not found"


def test_several_processes_find_the_same(root, monkeypatch):
    Planter(root).plant()
    alone = check_data(find_splits(root), workers=1)
    monkeypatch.setattr(checking, "FEW_IMAGES", 0)
    together = check_data(find_splits(root), workers=2)
    assert together.findings == alone.findings
    assert together.statistics.to_json() == alone.statistics.to_json()


def test_mending_leaves_what_needs_a_person(root):
    planter = Planter(root)
    planter.plant()
    before = planter.json_path.read_bytes()
    out = root / "annotations" / "mended.json"
    (source,) = find_splits(root, names=["train"])
    report = check_data([source], mend_into=out)
    assert planter.json_path.read_bytes() == before
    assert report.changes["segments: area corrected"] >= 4 and report.changes["segments: bbox corrected"] >= 3
    planter.json_path.write_bytes(out.read_bytes())
    left = {finding.kind for finding in severe(check_data([source]))}
    mended = {Kind.AREA_WRONG, Kind.BOX_WRONG, Kind.ISTHING_DIFFERS, Kind.SEGMENT_EMPTY, Kind.ID_REPEATED}
    mended |= {Kind.IMAGE_MISSING, Kind.PNG_MISSING, Kind.ANNOTATION_MISSING, Kind.ANNOTATION_ORPHAN}
    assert left == {kind for kind, _ in planter.expected} - mended - {Kind.IMAGE_LEAKED, Kind.NAME_REPEATED}


def test_what_can_be_mended_trains_afterwards(root):
    json_path = root / "annotations" / "panoptic_train.json"
    content = json.loads(json_path.read_text())
    good = copy.deepcopy(content)
    infos = content["annotations"][0]["segments_info"]
    infos[0].update(area=1, bbox=[0, 0, 0, 0], isthing=1)
    infos += [dict(infos[0]), {"id": 99, "category_id": 2}]
    content["images"][1].update(width=5, height=9)
    content["images"].append(content["images"][2])
    (root / "train" / "03.jpg").unlink()
    (root / "annotations" / "panoptic_train" / "04.png").unlink()
    json_path.write_text(json.dumps(content))
    out = root / "mended.json"
    report = check_data(find_splits(root, names=["train"]), mend_into=out)
    assert report.errors > 0

    mended = json.loads(out.read_text())
    for key, name in (("images", "id"), ("annotations", "image_id")):
        assert mended[key] == [entry for entry in good[key] if entry[name] not in (3, 4)]
    json_path.write_bytes(out.read_bytes())
    dataset = build_dataset(DataConfig(), "train", root)
    assert all(dataset[index].panoptic.segments for index in range(len(dataset)))
    assert check_data(find_splits(root, names=["train"])).errors == 0


def test_nothing_is_mended_in_place_or_half_seen(root):
    sources = find_splits(root)
    with pytest.raises(ConfigError, match="--split"):
        check_data(sources, mend_into=root / "new.json")
    with pytest.raises(ConfigError, match="--limit"):
        check_data(sources[:1], limit=3, mend_into=root / "new.json")
    with pytest.raises(DataError, match="exists already"):
        check_data(sources[:1], mend_into=sources[0].paths.json_path)


def test_extra_files_are_notes(root):
    Image.new("RGB", (3, 3)).save(root / "train" / "new.jpg")
    Image.new("RGB", (3, 3)).save(root / "annotations" / "panoptic_val" / "new.png")
    (root / "val" / "readme.txt").write_text("not an image")
    found = [(finding.kind, Path(finding.file).name) for finding in check_data(find_splits(root)).findings]
    assert found == [(Kind.IMAGE_EXTRA, "new.jpg"), (Kind.PNG_EXTRA, "new.png")]


def test_a_crowd_and_an_unused_class_are_notes(root):
    json_path = root / "annotations" / "panoptic_val.json"
    content = json.loads(json_path.read_text())
    content["categories"].append({"id": 30, "name": "tram", "isthing": 1})
    content["annotations"][1]["segments_info"][2]["iscrowd"] = 1
    json_path.write_text(json.dumps(content))
    found = {f.kind: f for f in check_data(find_splits(root, names=["val"])).findings}
    assert set(found) == {Kind.CROWD, Kind.CLASS_UNUSED}
    assert found[Kind.CROWD].file.endswith("01.png") and "tram" in found[Kind.CLASS_UNUSED].detail
    differing = [f for f in check_data(find_splits(root)).findings if f.kind is Kind.CATEGORIES_DIFFER]
    assert [(f.split, "tram" in f.detail) for f in differing] == [("val", True)]


def test_a_missing_folder_is_one_error(root):
    (root / "train").rename(root / "elsewhere")
    (finding,) = check_data(find_splits(root, names=["train"])).findings
    assert finding.kind is Kind.FOLDER_MISSING


def test_a_quick_look_sees_sizes_but_no_pixels(root):
    path = root / "train" / "05.jpg"
    path.write_bytes(path.read_bytes()[:-200])
    Image.new("RGB", (7, 7)).save(root / "train" / "06.jpg")
    Image.new("L", (7, 7)).save(root / "annotations" / "panoptic_train" / "07.png")
    (root / "train" / "08.jpg").unlink()
    (root / "train" / "09.jpg").write_bytes(b"")
    report = check_data(find_splits(root), quick=True)
    kinds = {Kind.IMAGE_SIZE, Kind.PNG_MODE, Kind.IMAGE_MISSING, Kind.IMAGE_BROKEN}
    assert {finding.kind for finding in report.findings} == kinds and report.errors == 4
    assert report.statistics is None and report.settings == ()


def test_limit(root):
    (root / "train" / "05.jpg").unlink()
    assert check_data(find_splits(root), limit=5).findings == ()
    assert check_data(find_splits(root), limit=6).errors == 1
