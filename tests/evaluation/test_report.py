import csv
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pisr_core.data import build_dataset
from pisr_core.data.coco.files import CocoPanopticWriter
from pisr_core.evaluation.evaluate import evaluate
from pisr_core.evaluation.examples import FileExamples
from pisr_core.evaluation.model_examples import examples_of_model
from pisr_core.evaluation.report import write_report
from pisr_core.metrics.files import evaluate_files
from pisr_core.results.against import compare_with, read_scores
from pisr_core.structures import PanopticSegmentation

CPU = torch.device("cpu")


@pytest.fixture
def predicted(tmp_path):
    """Scenes on disk, of which the second is predicted as void, with their images."""

    def write(scenes):
        for kind in ("truth", "predicted"):
            with CocoPanopticWriter(tmp_path / f"{kind}.json", tmp_path / kind, scenes.categories) as writer:
                for index in range(3):
                    sample = scenes[index]
                    lost = kind == "predicted" and index == 1
                    empty = PanopticSegmentation(np.zeros_like(sample.panoptic.ids), ())
                    writer.add(sample.image_id, sample.file_name, empty if lost else sample.panoptic)
        return tmp_path / "predicted.json", tmp_path / "truth.json"

    return write


def test_a_report_holds_everything(tmp_path, tiny_config, tiny_model):
    scenes, positions = build_dataset(tiny_config.data, "val"), {}
    result = evaluate(
        tiny_model,
        scenes,
        tiny_config.data,
        CPU,
        workers=0,
        limit=3,
        observe=lambda sample, _: positions.setdefault(sample.image_id, len(positions)),
    )
    assert positions == {0: 0, 1: 1, 2: 2}
    examples = list(examples_of_model(result.worst, tiny_model, scenes, positions, CPU))
    assert [example.score for example in examples] == list(result.worst)
    for example in examples:
        assert (example.truth.ids == scenes[example.score.image_id].panoptic.ids).all()
        assert example.image.shape == (*example.truth.ids.shape, 3)

    write_report(tmp_path, result, {"checkpoint": "a<b.safetensors"}, examples_of=lambda _: examples)
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["panoptic"] == json.loads(json.dumps(result.to_json()["panoptic"]))
    assert scores["run"] == {"checkpoint": "a<b.safetensors"}
    with (tmp_path / "per_class.csv").open(newline="") as file:
        assert [row["class"] for row in csv.DictReader(file)] == [category.name for category in scenes.categories]
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:image/jpeg") == 4 * len(examples) and page.count("data:image/png") == 1
    assert "a&lt;b.safetensors" in page and "a<b.safetensors" not in page
    assert not re.search(r'(src|href)="(?!data:)', page)


@pytest.mark.parametrize("with_images", [False, True])
def test_predictions_on_disk_show_their_mistakes(tmp_path, tiny_config, predicted, with_images):
    scenes = build_dataset(tiny_config.data, "val")
    paths = predicted(scenes)
    result = evaluate_files(*paths)
    assert [image.file_name for image in result.worst] == [scenes[1].file_name]
    pixels = scenes[1].image.permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(tmp_path / scenes[1].file_name)
    (example,) = FileExamples(*paths, images_dir=tmp_path if with_images else None)(result.worst)
    assert (example.truth.ids == scenes[1].panoptic.ids).all() and not example.prediction.ids.any()
    assert (example.image == pixels).all() if with_images else example.image is None
    write_report(tmp_path / "out", result, {}, examples_of=lambda _: [example])
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("data:image/jpeg") == (4 if with_images else 3)
    assert "100 % of the pixels mistaken" in page


def test_a_perfect_result_has_no_mistakes_to_show(tmp_path, tiny_config, predicted):
    _, truth = predicted(build_dataset(tiny_config.data, "val"))
    result = evaluate_files(truth, truth)
    write_report(tmp_path / "out", result, {}, examples_of=FileExamples(truth, truth))
    assert "largest mistakes" not in (tmp_path / "out" / "report.html").read_text()


def test_details_are_written_and_doubts_shown(tmp_path, tiny_config):
    """Of three scenes the largest segment of the second is predicted as another class, with confidence."""
    scenes = build_dataset(tiny_config.data, "val")
    largest = max(scenes[1].panoptic.segments, key=lambda segment: segment.area)
    other = (largest.category + 1) % len(scenes.categories)
    for kind in ("truth", "predicted"):
        with CocoPanopticWriter(tmp_path / f"{kind}.json", tmp_path / kind, scenes.categories) as writer:
            for index in range(3):
                sample = scenes[index]
                Image.fromarray(sample.image.permute(1, 2, 0).numpy()).save(tmp_path / sample.file_name)
                segments = [
                    replace(s, category=other) if (kind, index, s) == ("predicted", 1, largest) else s
                    for s in sample.panoptic.segments
                ]
                writer.add(sample.image_id, sample.file_name, replace(sample.panoptic, segments=tuple(segments)))
    paths = tmp_path / "predicted.json", tmp_path / "truth.json"
    result = evaluate_files(*paths, instances=False, semantic=False, details=True)
    images = FileExamples(*paths, images_dir=tmp_path)
    write_report(tmp_path / "one", result, {}, examples_of=images)
    scores = json.loads((tmp_path / "one/scores.json").read_text())
    assert [image["image_id"] for image in scores["per_image"]] == [0, 1, 2]
    (doubt,) = scores["annotation_doubts"]
    ids = [category.id for category in scenes.categories]
    assert (doubt["image_id"], doubt["annotated"]) == (1, ids[largest.category]) and doubt["predicted"] == ids[other]
    assert {kind for kind, cost in scores["errors"].items() if cost["mistakes"]} <= {"class", "stuff"}
    assert "What costs PQ" in (tmp_path / "one/report.html").read_text()
    page = (tmp_path / "one/annotation_errors.html").read_text()
    names = [category.name for category in scenes.categories]
    assert f"{names[largest.category]}, predicted as {names[other]}" in page and page.count("data:image/jpeg") == 3

    perfect = evaluate_files(paths[1], paths[1], instances=False, semantic=False, details=True)
    against = compare_with(read_scores(tmp_path / "one/scores.json"), perfect)
    write_report(tmp_path / "two", perfect, {}, examples_of=FileExamples(paths[1], paths[1]), against=against)
    page = (tmp_path / "two/report.html").read_text()
    assert "Against another model" in page and f"{scenes[1].file_name}: PQ 100.0, against" in page
    assert json.loads((tmp_path / "two/scores.json").read_text())["against"]["all"]["difference"] > 0
