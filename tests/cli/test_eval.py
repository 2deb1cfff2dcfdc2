import json
import re
from dataclasses import replace
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from PIL import Image

from pisr_core import presets
from pisr_core.config import PaperRow
from pisr_core.data import build_dataset
from pisr_core.data.categories import known_categories
from pisr_core.evaluation.evaluate import evaluate
from pisr_core.inference.load import load_model
from pisr_core.models import build_model
from pisr_core.weights.files.checkpoint import save_checkpoint

SMALL = [
    "backbone.pretrained=false",
    "backbone.name=resnet18",
    "data.scenes.size=[64, 64]",
    "data.scenes.val_images=2",
    "data.workers=0",
]


@pytest.fixture
def checkpoint(tmp_path):
    """Writes a random model for a dataset's classes."""

    def write(dataset="scenes", paper=()):
        config = presets.load("scenes-pdl-r18", [*SMALL, f"data.dataset={dataset}"])
        config = replace(config, paper=paper)
        path = tmp_path / "runs" / dataset / "best.safetensors"
        torch.manual_seed(0)
        categories = known_categories(dataset)
        save_checkpoint(path, build_model(config, categories).state_dict(), config, categories, {"step": 7})
        return path

    return write


def write_images(folder, names):
    folder.mkdir(parents=True)
    for name in names:
        Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(folder / name)


def test_a_report_is_written_and_all_scores_are_printed(pisr, checkpoint, tmp_path):
    code, out, err = pisr("eval", "--checkpoint", checkpoint(), "--device", "cpu", "--out", "scores")
    assert code == 0 and "scores/report.html" in err
    assert all(word in out for word in ("PQ", "AP50", "mIoU", "things", "sheep", "2 images"))
    assert sorted(path.name for path in (tmp_path / "scores").iterdir()) == [
        "annotation_errors.html",
        "per_class.csv",
        "report.html",
        "scores.json",
    ]
    run = json.loads((tmp_path / "scores" / "scores.json").read_text())["run"]
    assert run["trained steps"] == 7 and run["seen as"] == "the image itself"


def test_the_faster_copy_has_the_scores_of_the_model(pisr, checkpoint, tmp_path):
    path = checkpoint()
    model = load_model(path, torch.device("cpu"))
    config = model.config.data
    expected = evaluate(model, build_dataset(config, "val", None), config, torch.device("cpu"), workers=0).to_json()
    base = ("eval", "--checkpoint", path, "--device", "cpu", "--json")
    scores = json.loads(pisr(*base)[1])
    for part in ("panoptic", "semantic", "instance"):
        assert scores[part] == json.loads(json.dumps(expected[part]))
    assert scores["semantic"]["miou"] > 0
    code, _, err = pisr(*base, "--precision", "int8")
    assert code == 2 and "choose one of no, fp16, bf16" in err
    assert pisr(*base, "--precision", "bf16", "--out", "scores")[0] == 0
    assert json.loads((tmp_path / "scores" / "scores.json").read_text())["run"]["precision"] == "bf16"


def test_several_views_are_said_and_change_the_scores(pisr, checkpoint, tmp_path):
    base = ("eval", "--checkpoint", checkpoint(), "--device", "cpu", "--json", "--limit", 1)
    plain = json.loads(pisr(*base)[1])
    views = json.loads(pisr(*base, "--multi-scale", "0.5,1", "--flip", "--out", "scores")[1])
    assert views["semantic"] != plain["semantic"]
    run = json.loads((tmp_path / "scores" / "scores.json").read_text())["run"]
    assert run["seen as"] == "scales 0.5, 1.0, mirrored too"


def test_settings_of_prediction_are_said_and_change_the_scores(pisr, checkpoint, tmp_path):
    base = ("eval", "--checkpoint", checkpoint(), "--device", "cpu", "--json", "--limit", 1)
    plain = json.loads(pisr(*base)[1])
    setting = "merge.stuff_area=0.999"
    changed = json.loads(pisr(*base, "--set", setting, "--set", "data.eval_short_side=32", "--out", "scores")[1])
    assert changed["semantic"] != plain["semantic"]
    run = json.loads((tmp_path / "scores" / "scores.json").read_text())["run"]
    assert run["settings"] == f"{setting} data.eval_short_side=32"


def test_ours_is_compared_with_the_paper(pisr, checkpoint):
    row = PaperRow(5, "Panoptic-DL + PISR", "RN50", "val", {"PQ": 62.2, "mIoU": 80.2, "iIoU": 64.4})
    base = ("eval", "--checkpoint", checkpoint(paper=(row,)), "--device", "cpu", "--limit", 1, "--compare")
    code, out, _ = pisr(*base)
    assert code == 0 and "Table 5 of the paper" in out
    document = json.loads(pisr(*base, "--json")[1])
    assert document["comparisons"][0]["columns"] == ["PQ", "mIoU"]


def test_coco_test_images_become_an_archive_without_scores(pisr, checkpoint, tmp_path):
    root = tmp_path / "datasets" / "coco"
    write_images(root / "test2017", ["000000000001.jpg", "000000000016.jpg"])
    images = [{"id": i, "file_name": f"{i:012}.jpg", "height": 48, "width": 64} for i in (1, 16)]
    (root / "annotations").mkdir()
    (root / "annotations" / "image_info_test-dev2017.json").write_text(json.dumps({"images": images}))
    base = ("eval", "--checkpoint", checkpoint("coco"), "--device", "cpu", "--split", "test-dev")
    code, out, err = pisr(*base, "--submission", "upload", "--json")
    name = "panoptic_test-dev2017_scenes-pdl-r18_results"
    assert code == 0 and json.loads(out) == {"archives": [f"upload/{name}.zip"]}
    with ZipFile(tmp_path / "upload" / f"{name}.zip") as file:
        annotations = json.loads(file.read(f"{name}.json"))["annotations"]
        assert [entry["image_id"] for entry in annotations] == [1, 16]
        assert set(file.namelist()) == {f"{name}.json", *(f"{name}/{i:012}.png" for i in (1, 16))}
    code, _, err = pisr(*base)
    assert code == 2 and "has no annotation" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--multi-scale", "half"], "0.5,1,1.5"),
        (["--multi-scale", "0"], "0.05"),
        (["--set", "loss.gamma=2"], "--set loss.gamma: belongs to training"),
        (["--compare"], "no row of scenes-pdl-r18 on scenes val"),
        (["--submission", "up"], "no evaluation server"),
        (["--submission", "up.zip"], "name a folder"),
        (["--submission", "up", "--limit", 1], "leave --limit out"),
    ],
)
def test_mistakes_show_before_the_work(pisr, checkpoint, arguments, message):
    code, out, err = pisr("eval", "--checkpoint", checkpoint(), "--device", "cpu", *arguments)
    assert code == 2 and out == "" and message in " ".join(err.split()) and "evaluating" not in err


def test_options_of_models_need_a_model(pisr):
    code, _, err = pisr("eval", "--predictions", "p.json", "--annotations", "g.json", "--compare")
    assert code == 2 and "need a model" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "pq"], "--metrics needs predictions on disk"),
        (["--predictions", "p.json", "--annotations", "g.json", "--metrics", "pq,map"], "--metrics.*pq, miou, ap"),
        (["--predictions", "p.json", "--annotations", "g.json", "--metrics", "ap"], "leave pq in"),
        (
            ["--predictions", "p.json", "--annotations", "g.json", "--metrics", "pq", "--instances", "i.json"],
            "add ap to --metrics",
        ),
    ],
)
def test_what_to_count_is_checked_first(pisr, arguments, message):
    code, _, err = pisr("eval", *arguments)
    assert code == 2 and re.search(message, " ".join(err.split()))


@pytest.mark.parametrize(("metrics", "keys"), [("pq", set()), ("pq,miou", {"semantic"}), ("pq,ap", {"instance"})])
def test_only_what_is_wanted_is_counted(pisr, parts_case, tmp_path, metrics, keys):
    files = ["--predictions", parts_case / "pq/pred.json", "--annotations", parts_case / "pq/gt.json"]
    _, everything, _ = pisr("eval", *files, "--json")
    code, out, _ = pisr("eval", *files, "--metrics", metrics, "--json", "--out", tmp_path)
    found, known = json.loads(out), json.loads(everything)
    assert code == 0 and found.keys() - {"images", "seconds"} == {"panoptic", "errors"} | keys
    assert all(found[key] == known[key] for key in {"panoptic"} | keys)
    table = (tmp_path / "per_class.csv").read_text().partition("\n")[0]
    assert ("IoU" in table) == ("semantic" in keys) and ("AP" in table) == ("instance" in keys)
    assert pisr("eval", *files, "--metrics", metrics)[0] == 0


def test_two_models_are_compared(pisr, parts_case, tmp_path):
    files = ["--predictions", parts_case / "pq/pred.json", "--annotations", parts_case / "pq/gt.json"]
    perfect = ["--predictions", parts_case / "pq/gt.json", "--annotations", parts_case / "pq/gt.json"]
    assert pisr("eval", *files, "--metrics", "pq", "--out", "first")[0] == 0
    options = ["--metrics", "pq", "--against", "first/scores.json"]
    code, out, _ = pisr("eval", *perfect, *options, "--json")
    found = json.loads(out)
    assert code == 0 and found["against"]["all"]["pq"] == pytest.approx(found["panoptic"]["all"]["pq"])
    first = json.loads((tmp_path / "first/scores.json").read_text())["panoptic"]["all"]["pq"]
    assert found["against"]["all"]["against"] == pytest.approx(first)
    code, out, _ = pisr("eval", *perfect, *options)
    assert code == 0 and "Against first/scores.json" in " ".join(out.split()) and "better" in out
    code, out, err = pisr("eval", *perfect, "--against", "none.json")
    assert (code, out) == (2, "") and "none.json: no such file" in err and "comparing" not in err
