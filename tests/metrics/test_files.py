import json
import logging
import multiprocessing
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from pisr_core.data.coco.files import CocoPanopticWriter
from pisr_core.errors import DataError
from pisr_core.metrics import files
from pisr_core.metrics.files import evaluate_files
from pisr_core.structures import Category, PanopticSegmentation, Segment

GROUPS = {"All": "all", "Things": "things", "Stuff": "stuff"}


def test_scores_equal_the_reference(parts_case, record_property):
    case = parts_case / "pq"
    result = evaluate_files(case / "pred.json", case / "gt.json").to_json()["panoptic"]
    expected = json.loads((case / "expected.json").read_text())
    for name, group in GROUPS.items():
        assert result[group]["n"] == expected[name]["n"]
        for key in ("pq", "sq", "rq"):
            assert result[group][key] == pytest.approx(100 * expected[name][key], abs=1e-9)
    record_property("PQ of 0-100, absolute", abs(result["all"]["pq"] - 100 * expected["All"]["pq"]))
    for category_id, scores in expected["per_class"].items():
        for key, value in scores.items():
            assert result["per_class"][category_id][key] == pytest.approx(100 * value, abs=1e-9)


def write_files(folder, name, ids, segments, category_id=1):
    """One image's annotation as NAME.json and NAME/a.png."""
    (folder / name).mkdir(parents=True)
    Image.fromarray(np.stack([ids, ids * 0, ids * 0], axis=-1).astype(np.uint8)).save(folder / name / "a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": ids.shape[0], "width": ids.shape[1]}],
        "categories": [{"id": 1, "name": "car", "isthing": 1}, {"id": 2, "name": "sky", "isthing": 0}],
        "annotations": [
            {
                "image_id": 1,
                "file_name": "a.png",
                "segments_info": [{"id": i, "category_id": category_id, "area": a} for i, a in segments],
            }
        ],
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def truth(tmp_path):
    return write_files(tmp_path, "truth", np.array([[5, 5, 0, 0]]), [(5, 2)])


def test_folders_can_be_named_and_progress_is_told(tmp_path, truth):
    shutil.move(tmp_path / "truth", tmp_path / "elsewhere")
    calls = []
    result = evaluate_files(
        truth,
        truth,
        tmp_path / "elsewhere",
        tmp_path / "elsewhere",
        lambda done, total: calls.append((done, total)),
    )
    assert result.panoptic.all.pq == 100
    assert result.semantic.miou == 100
    assert calls == [(1, 1)]
    assert result.to_json()["panoptic"]["per_class"]["2"] == {
        "pq": 0,
        "sq": 0,
        "rq": 0,
        "tp": 0,
        "fp": 0,
        "fn": 0,
    }
    assert result.to_json()["semantic"]["per_class"] == {"1": 100.0, "2": None}


def test_areas_of_the_json_that_disagree_are_counted(tmp_path, caplog):
    truth = write_files(tmp_path, "truth", np.array([[5, 5, 0, 0]]), [(5, 3)])
    with caplog.at_level(logging.WARNING):
        assert evaluate_files(truth, truth).panoptic.all.pq == 100
    assert "area of 1 segments" in caplog.text


@pytest.mark.parametrize(
    ("ids", "segments", "category_id", "message"),
    [
        ([[5, 5, 6, 0]], [(5, 2)], 1, "a.png.*segment 6 is in the map"),
        ([[5, 5, 0, 0]], [(5, 2), (7, 1)], 1, "a.png.*segment 7 is listed"),
        ([[5, 5, 0]], [(5, 2)], 1, "a.png.*1×3"),
        ([[5, 5, 0, 0]], [(5, 2)], 3, "guess.json.*category_id 3"),
    ],
)
def test_contradictions_name_the_file(tmp_path, truth, ids, segments, category_id, message):
    guess = write_files(tmp_path, "guess", np.array(ids), segments, category_id)
    with pytest.raises(DataError, match=message):
        evaluate_files(guess, truth)


def test_images_of_other_ids_are_matched_by_their_names(tmp_path, truth):
    predicted = write_files(tmp_path, "predicted", np.array([[5, 5, 0, 0]]), [(5, 2)])
    content = json.loads(predicted.read_text())
    content["images"][0]["id"] = content["annotations"][0]["image_id"] = 7
    predicted.write_text(json.dumps(content))
    assert evaluate_files(predicted, truth).panoptic.all.pq == 100
    content["images"][0]["file_name"] = "b.jpg"
    predicted.write_text(json.dumps(content))
    with pytest.raises(DataError, match="image_id 7 is not among the images"):
        evaluate_files(predicted, truth)


def test_images_without_a_prediction_are_named(tmp_path, truth):
    guess = tmp_path / "guess.json"
    guess.write_text('{"annotations": []}')
    with pytest.raises(DataError, match="guess.json: 1 of 1 .* image 1"):
        evaluate_files(guess, truth)


def test_many_classes_against_themselves(tmp_path, monkeypatch):
    """5000 classes, of which the image has the first, the 256th and the last; a matrix of all pairs has 200 MB."""
    write_files(tmp_path, "truth", np.array([[1, 2, 3]]), [(1, 1), (2, 1), (3, 1)])
    content = json.loads((tmp_path / "truth.json").read_text())
    content["categories"] = [{"id": i, "name": f"c{i}", "isthing": i % 2} for i in range(5000)]
    for info, category in zip(content["annotations"][0]["segments_info"], (0, 255, 4999), strict=True):
        info["category_id"] = category
    (tmp_path / "truth.json").write_text(json.dumps(content))
    result = evaluate_files(tmp_path / "truth.json", tmp_path / "truth.json")
    assert (result.panoptic.all.pq, result.panoptic.all.n) == (100, 3) and result.semantic.miou == 100
    assert result.instance.ap == pytest.approx(100) and result.instance.per_class[255] == pytest.approx(100)
    assert result.confusion.counts == {(0, 0): 1, (255, 255): 1, (4999, 4999): 1}
    monkeypatch.setattr("pisr_core.data.coco.panoptic_json.MOST_CLASSES", 4999)
    with pytest.raises(DataError, match="has 5000 categories; from 1 to 4999 can be used"):
        evaluate_files(tmp_path / "truth.json", tmp_path / "truth.json")


CLASSES = (Category(1, "car", True), Category(2, "sky", False), Category(9, "dog", True))


def write_many(folder, name, seed, count=40):
    """Images of cells of 8 × 8 pixels, each of a random segment of five, in an order that is not that of the ids."""
    generator = np.random.default_rng(seed)
    with CocoPanopticWriter(folder / f"{name}.json", folder / name, CLASSES) as writer:
        for number in range(count):
            ids = generator.integers(1, 6, (3, 4)).astype(np.int32).repeat(8, 0).repeat(8, 1)
            segments = [
                Segment(i, i % 3, int((ids == i).sum()), score=i / 10) for i in np.unique(ids).tolist()
            ]  # many scores are equal, so that AP depends on the order of images
            writer.add(7 * number % count, f"{number}.jpg", PanopticSegmentation(ids, tuple(segments)))
    return folder / f"{name}.json"


def test_processes_count_what_one_counts(tmp_path, monkeypatch):
    guess, truth = write_many(tmp_path, "guess", 0), write_many(tmp_path, "truth", 1)
    content = json.loads(truth.read_text())
    content["annotations"][3]["segments_info"][0]["area"] += 1
    truth.write_text(json.dumps(content))
    alone = evaluate_files(guess, truth, details=True)
    homes = []
    monkeypatch.setattr(files, "SHARED_FROM", 40 * 24 * 32)
    monkeypatch.setattr(files, "available_cores", lambda: 3)
    monkeypatch.setattr(
        files._Counting, "merge", lambda self, counted, m=files._Counting.merge: homes.append(m(self, counted))
    )
    calls, warnings = [], []
    monkeypatch.setattr(files.log, "warning", lambda *words: warnings.append(words[-1]))
    shared = evaluate_files(guess, truth, details=True, progress=lambda *now: calls.append(now))
    assert len(homes) == 3  # each tells once
    assert warnings == [1]
    assert calls[:10] == [(done, 40) for done in range(4, 41, 4)] and set(calls[10:]) == {(40, 40)}
    first, second = ({**result.to_json(), "seconds": 0} for result in (alone, shared))
    assert 0 < first["panoptic"]["all"]["pq"] < 100 and 0 < first["instance"]["ap"] < 100
    assert second["instance"] == first["instance"]  # to the bit; PQ's sums have another order
    assert json.loads(json.dumps(second), parse_float=lambda x: round(float(x), 9)) == json.loads(
        json.dumps(first), parse_float=lambda x: round(float(x), 9)
    )
    assert [image.score for image in shared.details.images] == [image.score for image in alone.details.images]


def test_an_error_in_a_process_names_the_file(tmp_path, monkeypatch):
    guess, truth = write_many(tmp_path, "guess", 0), write_many(tmp_path, "truth", 1)
    monkeypatch.setattr(files, "SHARED_FROM", 40 * 24 * 32)
    monkeypatch.setattr(files, "available_cores", lambda: 2)
    broken = sorted((tmp_path / "guess").iterdir())[30]
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(DataError, match=f"{broken.name}.*Export or download it again"):
        evaluate_files(guess, truth)


@pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="others do not take the patch along")
def test_a_process_that_dies_is_told_with_its_file(tmp_path, monkeypatch):
    guess, truth = write_many(tmp_path, "guess", 0), write_many(tmp_path, "truth", 1)
    monkeypatch.setattr(files, "SHARED_FROM", 40 * 24 * 32)
    monkeypatch.setattr(files, "available_cores", lambda: 2)
    monkeypatch.setattr(files, "map_overlaps", lambda *maps: os._exit(3))
    with pytest.raises(
        DataError, match=r"died \(exit code 3\) at .*truth.json: the PNGs of .*memory\? Give the machine"
    ):
        evaluate_files(guess, truth)
