import json

import pytest
from PIL import Image


@pytest.fixture
def scenes(pisr, tmp_path):
    assert pisr("data", "prepare", "scenes", "--out", "set", "--train", 3, "--val", 2, "--size", "64x64")[0] == 0
    return tmp_path / "set"


def test_a_good_set_ends_with_0(pisr, scenes):
    code, out, err = pisr("data", "check", "set", "--json")
    document = json.loads(out)
    assert code == 0 and document["errors"] == document["warnings"] == 0
    assert list(document["splits"]) == ["train", "val"] and document["images"] == 5
    assert "checking" in err
    code, out, _ = pisr("data", "check", "set")
    assert code == 0 and "data.crop=[64, 64]" in out and "5 images" in out


def test_a_fault_ends_with_2_and_is_named(pisr, scenes):
    broken = sorted((scenes / "val").iterdir())[0]
    broken.write_bytes(b"")
    code, out, err = pisr("data", "check", "set", "--split", "val")
    assert (
        code == 2 and broken.name in out and "image-broken" in out and "replace or remove it" in " ".join(out.split())
    )
    assert "Traceback" not in err
    code, out, _ = pisr("data", "check", "set", "--json")
    (finding,) = (f for f in json.loads(out)["findings"] if f["severity"] == "error")
    assert code == 2 and finding["file"] == str(broken.relative_to(scenes.parent))


def test_names_with_brackets_are_shown(pisr, scenes):
    Image.new("RGB", (3, 3)).save(scenes / "train" / "[red]new.png")
    assert "[red]new.png" in pisr("data", "check", "set")[1]


def test_fix_writes_a_new_json_that_is_checked_by_itself(pisr, scenes):
    json_path = scenes / "annotations" / "panoptic_train.json"
    content = json.loads(json_path.read_text())
    content["annotations"][0]["segments_info"][0]["area"] += 1
    json_path.write_text(json.dumps(content))
    code, out, err = pisr("data", "check", "set", "--split", "train", "--fix", "mended.json", "--json")
    assert code == 0 and json.loads(out)["changes"] == {"segments: area corrected": 1}
    assert "1 × segments: area corrected" in err
    folders = ("--images", scenes / "train", "--pngs", scenes / "annotations/panoptic_train")
    code, out, _ = pisr("data", "check", "--annotations", "mended.json", *folders, "--json")
    assert code == 0 and json.loads(out)["warnings"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere/annotations/panoptic_train.json"),
        (["set", "--dataset", "cocoo"], "custom, coco, cityscapes, ade20k"),
        (["set", "--annotations", "p.json"], "either ROOT, or --annotations"),
        (["--images", "x"], "either ROOT, or --annotations"),
        (["set", "--fix", "new.json"], "name one --split"),
    ],
)
def test_mistakes(pisr, scenes, arguments, message):
    code, out, err = pisr("data", "check", *arguments)
    assert code == 2 and out == ""
    assert message in err and "Traceback" not in err


def test_help_has_an_example(pisr):
    code, out, _ = pisr("data", "check", "--help")
    assert code == 0 and "Example: pisr data check datasets/mine" in " ".join(out.split())
