import json

import numpy as np
import pytest
from PIL import Image


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


@pytest.fixture
def ade20k(tmp_path):
    """One training image of ADE20K as downloaded: wall above, a bed below."""
    base = tmp_path / "datasets/ADEChallengeData2016"
    semantic, instances = np.full((8, 8), 1), np.zeros((8, 8, 3))
    semantic[4:], instances[4:] = 8, (1, 1, 0)
    save(base / "images/training/ADE_train_00000001.jpg", np.zeros((8, 8, 3)))
    save(base / "annotations/training/ADE_train_00000001.png", semantic)
    save(base / "annotations_instance/training/ADE_train_00000001.png", instances)
    return base


@pytest.mark.parametrize(
    "command", [["prepare"], ["convert", "instances"], ["convert", "masks"], ["convert", "annotations"]], ids=" ".join
)
def test_help_has_an_example(pisr, command):
    code, out, _ = pisr("data", *command, "--help")
    assert code == 0 and f"Example: pisr data {' '.join(command)}" in " ".join(out.split())


def test_prepare_reports_as_json(pisr, ade20k):
    code, out, err = pisr("data", "prepare", "ade20k", "--workers", 1, "--json")
    path = "datasets/ADEChallengeData2016/ade20k_panoptic_train.json"
    assert code == 0 and json.loads(out) == {"train": {"json_path": path, "images": 1, "made": 1, "segments": 2}}
    assert "has no split 'val'" in err and "ade20k train" in err
    code, out, err = pisr("data", "prepare", "ade20k", "datasets", "--workers", 1)
    assert code == 0 and "made now" in out and path in err


def test_prepare_names_broken_files_and_exits_with_2(pisr, ade20k):
    broken = ade20k / "annotations_instance/training/ADE_train_00000001.png"
    broken.write_bytes(broken.read_bytes()[:40])
    code, out, err = pisr("data", "prepare", "ade20k", "datasets", "--workers", 1)
    assert code == 2 and out == "" and "ADE_train_00000001.png: cannot be read" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "kitti"], "cityscapes, ade20k, coco, nuclei, scenes"),
        (["prepare", "scenes"], "--out is missing"),
        (["prepare", "coco", "--out", "x"], "--out is for scenes"),
        (["prepare", "cityscapes", "nowhere"], "nowhere: no such folder"),
        (["prepare", "coco", "--download"], "needs an account"),
        (["prepare", "scenes", "--out", "x", "--download"], "nothing is fetched"),
        (["convert", "instances", "none.json", "--out", "p.json"], "none.json"),
        (
            [
                "convert",
                "masks",
                "--images",
                "i",
                "--semantic",
                "s",
                "--instances",
                "n",
                "--categories",
                "c",
                "--out",
                "p",
            ],
            "i: no such folder",
        ),
    ],
)
def test_mistakes_exit_with_2_and_one_message(pisr, arguments, message):
    code, out, err = pisr("data", *arguments)
    assert (code, out) == (2, "") and message in err and "Traceback" not in err


def test_converted_masks_are_read(pisr, tmp_path):
    save(tmp_path / "my/train/a.png", np.zeros((8, 8, 3)))
    save(tmp_path / "my/classes/a.png", np.repeat([[3], [5]], 4, axis=0).repeat(8, axis=1))
    save(tmp_path / "my/numbers/a.png", np.eye(8))
    (tmp_path / "my/classes.csv").write_text("id,name,isthing\n3,road,0\n5,car,1\n")
    options = ("--images", "my/train", "--semantic", "my/classes", "--instances", "my/numbers", "--workers", 1)
    path = "my/annotations/panoptic_train.json"
    code, out, _ = pisr("data", "convert", "masks", *options, "--categories", "my/classes.csv", "--out", path, "--json")
    assert code == 0 and json.loads(out)["panoptic_train"]["segments"] == 3
    predictions = ("--predictions", path, "--annotations", path, "--json")
    assert json.loads(pisr("eval", *predictions)[1])["panoptic"]["all"]["pq"] == 100


def test_converted_instances(pisr, tmp_path):
    polygon = [[0, 0, 4, 0, 4, 4, 0, 4]]
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 8, "width": 8}],
        "categories": [{"id": 1, "name": "car"}, {"id": 2, "name": "bus"}],
        "annotations": [{"id": i, "image_id": 1, "category_id": i, "segmentation": polygon} for i in (1, 2)],
    }
    (tmp_path / "things.json").write_text(json.dumps(content))
    code, out, _ = pisr("data", "convert", "instances", "things.json", "--out", "p.json", "--void", 2, "--json")
    written = json.loads((tmp_path / "p.json").read_text())
    assert code == 0 and json.loads(out)["p"]["segments"] == 1
    assert [category["name"] for category in written["categories"]] == ["car"]
    assert written["annotations"][0]["segments_info"][0]["area"] == 16


@pytest.fixture
def labelme(tmp_path):
    """A car, a road below it and a point, in LabelMe's format."""
    save(tmp_path / "my/train/a.png", np.zeros((8, 8, 3)))
    shapes = [
        {"label": "car", "shape_type": "rectangle", "points": [[2, 2], [4, 4]]},
        {"label": "road", "shape_type": "polygon", "points": [[0, 0], [8, 0], [8, 8], [0, 8]]},
        {"label": "car", "shape_type": "point", "points": [[1, 1]]},
    ]
    content = {"imagePath": "a.png", "imageHeight": 8, "imageWidth": 8, "shapes": shapes}
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/a.json").write_text(json.dumps(content))
    path = "my/annotations/panoptic_train.json"
    return ("data", "convert", "annotations", "labels", "--images", "my/train", "--out", path, "--workers", 1)


def test_converted_annotations_of_a_tool(pisr, labelme, tmp_path):
    code, out, err = pisr(*labelme, "--things", "car", "--stuff", "road,sky", "--json")
    report = json.loads(out)["panoptic_train"]
    assert code == 0 and (report["tool"], report["segments"], report["hidden"]) == ("LabelMe", 2, 0)
    assert report["left_out"] == {"point": 1} and "left out, as they are no regions: 1 point" in err
    content = json.loads((tmp_path / "my/annotations/panoptic_train.json").read_text())
    assert [(c["name"], c["isthing"]) for c in content["categories"]] == [("car", 1), ("road", 0), ("sky", 0)]
    assert [segment["area"] for segment in content["annotations"][0]["segments_info"]] == [4, 60]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "car (1), road (1). Name them with --things NAME,NAME and --stuff NAME,NAME"),
        (["--things", "car,road", "--stuff", "road"], "class 'road' is named in --things and --stuff"),
        (["--things", "car", "--stuff", "road", "--overlap", "any"], "smaller-on-top, later-on-top"),
    ],
)
def test_classes_of_a_tool_have_to_be_named(pisr, labelme, tmp_path, options, message):
    code, out, err = pisr(*labelme, *options)
    assert (code, out) == (2, "") and message in err and "Traceback" not in err
    assert not (tmp_path / "my/annotations").exists()
