"""COCO instances and pairs of maps to COCO panoptic."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from pisr_core.data.coco.files import read_panoptic_json, read_segmentation
from pisr_core.data.prepare.convert import StuffSource, convert_instances, convert_masks
from pisr_core.data.prepare.mask_pairs import panoptic
from pisr_core.data.prepare.overlaps import Piece, paint
from pisr_core.data.prepare.raw import Label
from pisr_core.errors import ConfigError, DataError

PERSON, TIE, SKY, GRASS, OTHER = 1, 32, 106, 124, 183
SIZE = (12, 16)


def box(top, left, bottom, right):
    mask = np.zeros(SIZE, np.uint8, order="F")
    mask[top:bottom, left:right] = 1
    return mask


def compressed(mask):
    encoded = coco_mask.encode(mask)
    return encoded | {"counts": encoded["counts"].decode()}


def uncompressed(mask):
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *changes, flat.size]).tolist()
    return {"size": list(SIZE), "counts": counts if flat[0] == 0 else [0, *counts]}


def polygon(top, left, bottom, right):
    return [[left, top, right, top, right, bottom, left, bottom]]


def write_coco(path, categories, annotations, images=(1,)):
    content = {
        "images": [{"id": i, "file_name": f"{i}.jpg", "height": SIZE[0], "width": SIZE[1]} for i in images],
        "categories": [{"id": i, "name": name} for i, name in categories],
        "annotations": [{"id": number, "image_id": 1} | entry for number, entry in enumerate(annotations)],
    }
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def things(tmp_path):
    """A person with a tie, listed after the tie, and a crowd of persons that reaches below the person."""
    annotations = [
        {"category_id": TIE, "segmentation": uncompressed(box(4, 6, 6, 8))},
        {"category_id": PERSON, "segmentation": polygon(2, 4, 10, 10)},
        {"category_id": PERSON, "segmentation": compressed(box(0, 9, 12, 16)), "iscrowd": 1},
    ]
    return write_coco(tmp_path / "things.json", [(PERSON, "person"), (TIE, "tie")], annotations, images=(1, 2))


@pytest.fixture
def stuff(tmp_path):
    """Sky above, grass below in two annotations, and `other`, which stands for the things."""
    annotations = [
        {"category_id": SKY, "segmentation": compressed(box(0, 0, 6, 16))},
        {"category_id": GRASS, "segmentation": compressed(box(6, 0, 12, 4))},
        {"category_id": GRASS, "segmentation": compressed(box(6, 4, 12, 8))},
        {"category_id": OTHER, "segmentation": compressed(box(6, 8, 12, 16))},
    ]
    return write_coco(tmp_path / "stuff.json", [(SKY, "sky"), (GRASS, "grass"), (OTHER, "other")], annotations)


def converted(out, image_id=1):
    """Classes of the pixels by their category ids, 0 for void, and the segments by class."""
    file = read_panoptic_json(out)
    record = file.annotations[image_id]
    segmentation = read_segmentation(out.with_suffix("") / record.file_name, record)
    ids = np.array([category.id for category in file.categories] + [0] * 256)
    classes = ids[segmentation.semantic()]
    return np.where(segmentation.ids == 0, 0, classes), [
        (file.categories[s.category].id, s.area, s.iscrowd) for s in segmentation.segments
    ]


def test_instances_on_crowds_on_stuff(things, stuff, tmp_path):
    out = tmp_path / "panoptic.json"
    report = convert_instances(things, out, StuffSource(json_path=stuff), void=[OTHER], workers=1)
    classes, segments = converted(out)
    assert (report.images, report.made, report.segments) == (2, 2, 5)
    assert segments == [
        (SKY, 6 * 9 - 4 * 5, False),
        (GRASS, 6 * 8 - 4 * 4, False),
        (PERSON, 12 * 7 - 8, True),
        (PERSON, 8 * 6 - 4, False),
        (TIE, 4, False),
    ]
    assert classes[0, 0] == SKY and classes[11, 0] == GRASS and classes[11, 8] == 0
    assert (classes[4:6, 6:8] == TIE).all() and (classes[2:4, 4:10] == PERSON).all()
    assert converted(out, 2)[1] == []


def test_later_on_top(things, tmp_path):
    convert_instances(things, tmp_path / "p.json", StuffSource(), overlap="later-on-top", workers=1)
    classes, segments = converted(tmp_path / "p.json")
    assert segments == [(PERSON, 76, True), (PERSON, 48, False)]  # the tie is below the person
    assert set(np.unique(classes)) == {0, PERSON}
    with pytest.raises(DataError, match="was made with other settings"):
        convert_instances(things, tmp_path / "p.json", StuffSource(), workers=1)


def test_stuff_from_maps(things, tmp_path, save_png):
    """As COCO's stuffthingmaps: number + 1 is the category id, 255 is void, things are numbers too."""
    numbers = np.full(SIZE, SKY - 1, np.uint8)
    numbers[6:, :8], numbers[:, 15] = PERSON - 1, 255
    for image_id in (1, 2):
        save_png(tmp_path / f"maps/{image_id}.png", numbers)
    (tmp_path / "classes.csv").write_text(f"id,name,isthing\n{PERSON},person,1\n{SKY},sky,0\n")
    source = StuffSource(maps=tmp_path / "maps", categories=tmp_path / "classes.csv", offset=1)
    with pytest.raises(DataError, match=r"2 of 2 images .*\n.*1.png: holds the unknown category ids 256"):
        convert_instances(things, tmp_path / "p.json", source, workers=1)
    convert_instances(things, tmp_path / "p.json", source, void=[256], workers=1)
    classes, segments = converted(tmp_path / "p.json", 2)
    assert segments == [(SKY, 12 * 15 - 6 * 8, False)] and (classes[6:, :8] == 0).all()
    assert (converted(tmp_path / "p.json")[0][2:10, 4:10] != SKY).all()


def test_overlaps_by_hand():
    small, large = Piece(np.array([[1, 0, 0]], bool), Label(1)), Piece(np.array([[1, 1, 0]], bool), Label(2))
    for pieces in ([small, large], [large, small]):
        labelled = paint((1, 3), [pieces], "smaller-on-top")
        assert [labelled.labels.get(i, Label(0)).category_id for i in labelled.ids[0].tolist()] == [1, 2, 0]
    assert paint((1, 3), [[small, large]], "later-on-top").ids.tolist() == [[2, 2, 0]]
    assert paint((1, 3), [[small], [large]], "smaller-on-top").ids.tolist() == [[2, 2, 0]]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"category_id": PERSON, "segmentation": [[1, 2]]}, "annotation 0 of 1.jpg has a broken segmentation"),
        (
            {"category_id": PERSON, "segmentation": {"size": [3, 3], "counts": [9]}},
            "3×3 pixels, but the image has 12×16",
        ),
        ({"category_id": 77, "segmentation": []}, "unknown category_id 77"),
        ({"category_id": PERSON, "segmentation": [], "image_id": 9}, "unknown image_id 9"),
        ({"category_id": PERSON}, "lacks what COCO's format of instances has"),
    ],
)
def test_broken_instances_are_named(tmp_path, entry, message):
    path = write_coco(tmp_path / "things.json", [(PERSON, "person")], [entry])
    with pytest.raises(DataError, match=f"(?s)things.json: .*{message}"):
        convert_instances(path, tmp_path / "p.json", StuffSource(), workers=1)


def test_contradicting_sources(things, tmp_path):
    with pytest.raises(DataError, match=r"category ids \[1\] are both things and stuff"):
        other = write_coco(tmp_path / "stuff.json", [(PERSON, "crowd")], [])
        convert_instances(things, tmp_path / "p.json", StuffSource(json_path=other))
    with pytest.raises(ConfigError, match="given twice"):
        StuffSource(json_path=things, maps=tmp_path, categories=things)
    with pytest.raises(ConfigError, match="go together"):
        StuffSource(maps=tmp_path)
    with pytest.raises(ConfigError, match="smaller-on-top, later-on-top"):
        convert_instances(things, tmp_path / "p.json", StuffSource(), overlap="any")


@pytest.fixture
def pair(tmp_path, save_png):
    """An image with its maps: stuff 3 and things 5 and 9; 0 is void. Instances have 16 bits."""
    semantic = np.array([[0, 3, 3, 5], [5, 5, 9, 9], [5, 5, 9, 9]], np.uint8)
    instances = np.array([[7, 7, 0, 0], [300, 300, 300, 2], [1, 1, 300, 2]], np.uint16)
    save_png(tmp_path / "images/town/a.png", np.zeros((3, 4, 3), np.uint8))
    save_png(tmp_path / "semantic/town/a.png", semantic)
    save_png(tmp_path / "instances/town/a.png", instances)
    (tmp_path / "classes.csv").write_text("id,name,isthing\n3,road,0\n5,car,1\n9,bus,1\n")
    return tmp_path


def convert_pair(root):
    folders = (root / name for name in ("images", "semantic", "instances", "classes.csv"))
    return convert_masks(*folders, root / "annotations/panoptic_train.json", workers=1)


def test_masks_by_hand(pair):
    assert convert_pair(pair).segments == 6
    classes, segments = converted(pair / "annotations/panoptic_train.json")
    assert classes.tolist() == [[0, 3, 3, 5], [5, 5, 9, 9], [5, 5, 9, 9]]
    assert segments == [(3, 2, False), (5, 1, True), (5, 2, False), (5, 2, False), (9, 2, False), (9, 2, False)]
    content = json.loads((pair / "annotations/panoptic_train.json").read_text())
    assert content["images"] == [{"id": 1, "file_name": "town/a.png", "width": 4, "height": 3}]
    assert content["annotations"][0]["file_name"] == "town/a.png"


def test_every_pixel_keeps_its_class_and_instance():
    rng = np.random.default_rng(0)
    semantic, instances = rng.integers(0, 6, (40, 50), np.int32), rng.integers(0, 70_000, (40, 50), np.int32) % 4
    labelled = panoptic(semantic, instances, frozenset({1, 2}), frozenset({3, 4}))
    seen = {}
    for segment_id, key in zip(
        labelled.ids.ravel(), zip(semantic.ravel(), instances.ravel(), strict=True), strict=True
    ):
        wanted = None if key[0] in (0, 5) else (key[0], key[1] if key[0] < 3 else 0)
        assert (segment_id == 0) == (wanted is None) and seen.setdefault(segment_id, wanted) == wanted
    assert len(seen) == 1 + 2 * 4 + 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: Image.new("L", (4, 3), 44).save(root / "semantic/town/a.png"), "unknown category ids 44"),
        (
            lambda root: Image.new("L", (3, 3)).save(root / "instances/town/a.png"),
            "has 3×3 pixels, but .*semantic.* 3×4",
        ),
        (lambda root: Image.new("RGB", (5, 3)).save(root / "images/town/a.png"), "has 3×4 pixels, but .*images.* 3×5"),
        (lambda root: (root / "instances/town/a.png").unlink(), "instances/town/a.png: no such file"),
        (lambda root: (root / "semantic/town/a.png").write_bytes(b"x"), "semantic/town/a.png: cannot be read"),
        (lambda root: Image.new("RGB", (4, 3)).save(root / "images/town/a.jpg"), "would share town/a.png"),
        (lambda root: (root / "images").rename(root / "other"), "images: no such folder"),
    ],
)
def test_broken_masks_are_named(pair, change, message):
    change(pair)
    with pytest.raises(DataError, match=message):
        convert_pair(pair)
