"""Exports of annotation tools to COCO panoptic; `make_exports.py` wrote `exports/` with the tools' packages."""

import json
from pathlib import Path

import numpy as np
import pytest
from cityscapesscripts.helpers.annotation import Annotation
from cityscapesscripts.preparation.json2instanceImg import createInstanceImage
from PIL import Image

from pisr_core.data.annotation_tools.convert import ClassNames, convert_export
from pisr_core.data.coco.files import read_panoptic_json, read_segmentation
from pisr_core.errors import ConfigError, DataError

EXPORTS = Path(__file__).parent / "exports"
NAMES = ClassNames(things=("car", "person"), stuff=("road",))
CAR, PERSON, ROAD = 1, 2, 3


@pytest.fixture
def images(tmp_path, save_png):
    save_png(tmp_path / "images/a.png", np.zeros((12, 16, 3), np.uint8))
    return tmp_path / "images"


def read_back(path, image=0):
    """Category ids of the pixels, 0 for void, and (category id, area, crowd) of the segments."""
    file = read_panoptic_json(path)
    record = file.annotations[file.images[image].id]
    panoptic = read_segmentation(path.with_suffix("") / record.file_name, record)
    ids = np.array([category.id for category in file.categories] + [0] * 256)
    return ids[panoptic.semantic()], sorted(
        (file.categories[segment.category].id, segment.area, segment.iscrowd) for segment in panoptic.segments
    )


def scene():
    """What `make_exports.py` draws, with the person above the car and the car above the road."""
    wanted = np.zeros((12, 16), int)
    wanted[6:] = ROAD
    wanted[4:10, 4:10] = wanted[4:6, 11:13] = CAR
    hole = wanted[3, 3:5].copy()
    wanted[2:6, 2:8] = PERSON
    wanted[3, 3:5] = hole
    return wanted


@pytest.mark.parametrize(
    ("folder", "tool", "left_out", "grouped"),
    [
        ("labelme", "LabelMe", {"point": 1, "line": 1}, True),
        ("cvat", "CVAT", {"points": 1, "polyline": 1}, True),
        ("datumaro", "Datumaro", {"points": 1, "polyline": 1}, True),
        ("coco", "COCO instances", {}, True),
        ("label_studio", "Label Studio", {"keypointlabels": 1, "vectorlabels": 1}, False),
        ("supervisely", "Supervisely", {"point": 1, "line": 1}, False),
    ],
)
def test_files_that_the_tools_wrote(images, tmp_path, folder, tool, left_out, grouped):
    report = convert_export(EXPORTS / folder, images, tmp_path / "p.json", NAMES, workers=1)
    assert (report.tool, report.left_out, report.hidden) == (tool, left_out, 0)
    classes, segments = read_back(tmp_path / "p.json")
    assert (classes == scene()).all()
    car = 36 - 8  # the person covers two rows of four
    cars = [(CAR, car + 4, False)] if grouped else [(CAR, 4, False), (CAR, car, False)]
    assert segments == [*cars, (PERSON, 22, False), (ROAD, 96 - 24, False)]


def labelme(path, shapes, name="a.png", size=(12, 16)):
    content = {"imagePath": name, "imageHeight": size[0], "imageWidth": size[1]}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content | {"shapes": [{"label": "car", "points": p, **more} for p, more in shapes]}))
    return path


def square(left, top, side):
    return [[left, top], [left + side, top], [left + side, top + side], [left, top + side]]


def test_the_order_of_depth(images, tmp_path):
    """LabelMe: the smaller is on top unless the file's order shall count; CVAT: above all the level."""
    small, large = (square(2, 2, 2), {"label": "person"}), (square(0, 0, 6), {})
    path = labelme(tmp_path / "l/a.json", [small, large, (square(0, 0, 12), {"label": "road"})])
    convert_export(path, images, tmp_path / "1.json", NAMES, workers=1)
    assert read_back(tmp_path / "1.json")[1] == [(CAR, 32, False), (PERSON, 4, False), (ROAD, 144 - 36, False)]
    report = convert_export(path, images, tmp_path / "2.json", NAMES, "later-on-top", workers=1)
    assert read_back(tmp_path / "2.json")[1] == [(ROAD, 144, False)] and report.hidden == 2
    shape = '<{} label="car" points="{}" z_order="{}"/>'.format
    points = (";".join(f"{x},{y}" for x, y in corners) for corners in (square(2, 2, 2), square(0, 0, 6)))
    shapes = "".join(shape("polygon", text, level) for text, level in zip(points, (0, 1), strict=True))
    xml = (
        f'<annotations><version>1.1</version><image name="a.png" width="16" height="12">{shapes}</image></annotations>'
    )
    (tmp_path / "c.xml").write_text(xml)
    assert convert_export(tmp_path / "c.xml", images, tmp_path / "3.json", NAMES, workers=1).hidden == 1
    assert read_back(tmp_path / "3.json")[1] == [(CAR, 36, False)]


def test_kinds_of_regions_by_hand(images, tmp_path):
    """A circle, a turned box and a box of CVAT, with pixels counted by their centres."""
    shapes = (
        '<ellipse label="car" cx="3" cy="3" rx="2" ry="2"/>'
        '<box label="person" xtl="8" ytl="2" xbr="14" ybr="4" rotation="90"/>'
        '<mask label="road" rle="1, 2, 3" left="0" top="10" width="3" height="2"/>'
    )
    (tmp_path / "c.xml").write_text(
        f'<annotations><version>1.1</version><image name="a.png" width="16" height="12">{shapes}</image></annotations>'
    )
    convert_export(tmp_path / "c.xml", images, tmp_path / "p.json", NAMES, workers=1)
    classes, _ = read_back(tmp_path / "p.json")
    wanted = np.zeros((12, 16), int)
    wanted[1:5, 1:5] = CAR
    wanted[[1, 1, 4, 4], [1, 4, 1, 4]] = 0
    wanted[0:6, 10:12] = PERSON
    wanted[10, 1:3] = ROAD
    assert (classes == wanted).all()


def test_cityscapes_polygons_are_drawn_as_cityscapesscripts_draws(tmp_path, save_png):
    rng = np.random.default_rng(0)
    names = ["road", "car", "vegetation", "person", "cargroup"]
    objects = [
        {"label": names[i % 5], "polygon": rng.integers(-4, 60, (rng.integers(3, 9), 2)).tolist()} for i in range(25)
    ]
    path = tmp_path / "gt/ulm_000000_000019_gtFine_polygons.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"imgHeight": 40, "imgWidth": 56, "objects": objects}))
    save_png(tmp_path / "images/ulm/ulm_000000_000019_leftImg8bit.png", np.zeros((40, 56, 3), np.uint8))
    classes = ClassNames(("car", "person"), ("road", "vegetation"))
    convert_export(path.parent, tmp_path / "images", tmp_path / "p.json", classes, workers=1)
    official = Annotation()
    official.fromJsonFile(str(path))
    official = np.array(createInstanceImage(official, "ids"))
    of_class = {7: 3, 21: 4, 24: 2, 26: 1}
    wanted = np.vectorize(lambda i: of_class.get(i // 1000 if i >= 1000 else i, 0))(official)
    found, segments = read_back(tmp_path / "p.json")
    assert (found == wanted).all()
    areas = [(of_class[i // 1000 if i >= 1000 else i], int((official == i).sum())) for i in np.unique(official) if i]
    crowds = [(CAR, area) for _, area, crowd in segments if crowd]
    assert sorted(areas) == sorted(
        [(category, area) for category, area, crowd in segments if not crowd]
        + ([(CAR, sum(area for _, area in crowds))] if crowds else [])
    )


def test_names_are_found_wherever_the_tool_says_they_lie(tmp_path, save_png):
    """LabelMe's names of Windows, Label Studio's of uploads and local files, two images of one name."""
    for name in ("one/a.png", "two/a.png", "b c.png"):
        save_png(tmp_path / "images" / name, np.zeros((12, 16, 3), np.uint8))
    labelme(tmp_path / "l/1.json", [(square(0, 0, 4), {})], "..\\..\\images\\one\\a.png")
    labelme(tmp_path / "l/2.json", [(square(0, 0, 5), {})], "..\\..\\images\\two\\a.png")
    convert_export(tmp_path / "l", tmp_path / "images", tmp_path / "p.json", NAMES, workers=1)
    content = json.loads((tmp_path / "p.json").read_text())
    names = [image["file_name"] for image in content["images"]]
    areas = [read_back(tmp_path / "p.json", number)[1][0][1] for number in range(2)]
    assert (names, areas) == (["one/a.png", "two/a.png"], [16, 25])
    task = json.loads((EXPORTS / "label_studio/project.json").read_text())[0]
    for number, address in enumerate(
        ("/data/local-files/?d=images/b%20c.png", "s3://bucket/b%20c.png", "/data/upload/1/0a1b2c3d-b c.png")
    ):
        (tmp_path / "ls.json").write_text(json.dumps([task | {"data": {"image": address}}]))
        out = tmp_path / f"ls{number}.json"
        convert_export(tmp_path / "ls.json", tmp_path / "images", out, NAMES, workers=1)
        assert json.loads(out.read_text())["images"][0]["file_name"] == "b c.png"


def test_classes_that_are_not_named_are_listed(images, tmp_path):
    for names in (ClassNames(), ClassNames(things=("car",))):
        with pytest.raises(ConfigError, match=r"which are stuff\? Not named are.* person \(1\), road \(1\). Name them"):
            convert_export(EXPORTS / "labelme", images, tmp_path / "p.json", names)
    convert_export(EXPORTS / "labelme", images, tmp_path / "p.json", ClassNames(("car",), (), ("person", "road")))
    assert read_back(tmp_path / "p.json")[1] == [(CAR, 40, False)]
    with pytest.raises(ConfigError, match="class 'car' is named in --things and --stuff"):
        ClassNames(things=("car", "person"), stuff=("car",))


def test_a_later_export_is_not_mixed_with_an_earlier_one(images, tmp_path):
    path = labelme(tmp_path / "l/a.json", [(square(0, 0, 4), {})])
    convert_export(path, images, tmp_path / "p.json", NAMES, workers=1)
    assert convert_export(path, images, tmp_path / "p.json", NAMES, workers=1).split.made == 0
    labelme(path, [(square(0, 0, 5), {})])
    with pytest.raises(DataError, match="was made with other settings"):
        convert_export(path, images, tmp_path / "p.json", NAMES, workers=1)


def mixed(folder):
    labelme(folder / "l/a.json", [(square(0, 0, 4), {})])
    (folder / "l/b.json").write_bytes((EXPORTS / "supervisely/ds/ann/a.png.json").read_bytes())


def video(folder):
    (folder / "l").mkdir()
    (folder / "l/a.xml").write_text("<annotations><version>1.1</version><track/></annotations>")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (mixed, r"holds files of LabelMe \(.*a.json\) and of Supervisely \(.*b.json\). Convert each"),
        (video, "is CVAT's format for videos"),
        (lambda folder: labelme(folder / "l/a.json", [], "b.png"), "annotated images are not there, such as 'b.png'"),
        (lambda folder: labelme(folder / "l/a.json", [], size=(12, 15)), "a.json: has 12×15 pixels, but .*a.png 12×16"),
        (lambda folder: labelme(folder / "l/a.json", [], size=(12.5, 16)), "an image of 12.5×16 pixels"),
        (lambda folder: labelme(folder / "l/a.json", [([[0, 0], [1, 1]], {})]), "of a.png is broken: a polygon is"),
        (lambda folder: labelme(folder / "l/a.json", [(square(0, 0, 1e9), {})]), "is broken: .* far outside"),
        (lambda folder: labelme(folder / "l/a.json", [([[0]], {})]), "is broken, or no file as LabelMe writes it"),
        (lambda folder: labelme(folder / "l/a.json", [([[0, 0]], {"shape_type": "star"})]), "shape_type 'star'"),
        (lambda folder: [labelme(folder / f"l/{i}.json", []) for i in "ab"], "image a is annotated 2 times"),
        (lambda folder: (folder / "l").mkdir(), "holds no annotations that are known here. Give an export of LabelMe,"),
        (lambda folder: None, "l: no such file or folder"),
    ],
)  # fmt: skip
def test_bad_input_is_one_message_and_writes_no_json(images, tmp_path, write, message):
    write(tmp_path)
    with pytest.raises(DataError, match=f"(?s){message}"):
        convert_export(tmp_path / "l", images, tmp_path / "out/p.json", NAMES, workers=1)
    assert not (tmp_path / "out/p.json").exists() and not list(tmp_path.glob("out/p/*"))


def test_the_size_may_be_that_of_the_file(tmp_path):
    """A file without it: the image's own."""
    Image.new("RGB", (16, 12)).save(tmp_path / "a.png")
    item = {
        "id": "a",
        "annotations": [{"type": "bbox", "label_id": 0, "bbox": [0, 0, 2, 2]}],
        "image": {"path": "a.png"},
    }
    content = {"items": [item], "categories": {"label": {"labels": [{"name": "car"}]}}}
    (tmp_path / "d.json").write_text(json.dumps(content))
    convert_export(tmp_path / "d.json", tmp_path, tmp_path / "p/p.json", NAMES, workers=1)
    assert read_back(tmp_path / "p/p.json")[1] == [(CAR, 4, False)]
