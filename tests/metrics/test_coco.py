import json
import math

import numpy as np
import pytest
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pisr_core.errors import DataError
from pisr_core.metrics.coco import CocoAP, OfficialInstances
from pisr_core.metrics.overlaps import segment_overlaps
from pisr_core.structures import Category

NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


def encoded(mask):
    counts = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": counts["size"], "counts": counts["counts"].decode()}


def write_instances(path, truths, categories):
    """The annotations as COCO's instances JSON, by (image id, map)."""
    entries = [
        {
            "id": 1000 * image_id + segment.id,
            "image_id": image_id,
            "category_id": categories[segment.category].id,
            "iscrowd": int(segment.iscrowd),
            "area": int((truth.ids == segment.id).sum()),
            "segmentation": encoded(truth.ids == segment.id),
        }
        for image_id, truth in truths
        for segment in truth.segments
        if categories[segment.category].isthing
    ]
    content = {
        "images": [{"id": i, "height": t.ids.shape[0], "width": t.ids.shape[1]} for i, t in truths],
        "categories": [{"id": c.id, "name": c.name} for c in categories if c.isthing],
        "annotations": entries,
    }
    path.write_text(json.dumps(content))


def official_scores(path, predictions, categories):
    truths = COCO(str(path))
    results = [
        {
            "image_id": image_id,
            "category_id": categories[segment.category].id,
            "score": segment.score,
            "segmentation": encoded(prediction.ids == segment.id),
        }
        for image_id, prediction in predictions
        for segment in prediction.segments
        if categories[segment.category].isthing
    ]
    evaluator = COCOeval(truths, truths.loadRes(results), "segm")
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    by_class = [evaluator.eval["precision"][:, :, index, 0, 2] for index in range(len(evaluator.params.catIds))]
    return evaluator.stats[:6], [p[p > -1].mean() if (p > -1).any() else None for p in by_class]


def largest_difference(result, stats, by_class):
    ours = [getattr(result, name) for name in NAMES] + [ap for ap in result.per_class[: len(by_class)]]
    theirs = [None if value in (-1, None) else 100 * value for value in (*stats, *by_class)]
    assert [value is None for value in ours] == [value is None for value in theirs]
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True) if a is not None)


@pytest.fixture
def images(random_pair, categories):
    """Two dozen images in no order; one without things, one without predictions; class 3 is predicted only."""
    generator = np.random.default_rng(4)
    stuff = tuple(Category(c.id, c.name, False) for c in categories)
    made = {}
    for image_id in generator.permutation(24).tolist():
        size, count = ((150, 220), 10) if image_id % 3 else ((60, 90), 40)
        made[image_id] = random_pair(generator, stuff[4:] if image_id == 5 else categories, size, count)
    prediction, truth = made[7]
    made[7] = type(prediction)(np.zeros_like(prediction.ids), ()), truth
    return {
        image_id: (prediction, type(truth)(*without(truth, category=3)))
        for image_id, (prediction, truth) in made.items()
    }


def without(truth, category):
    dropped = [segment.id for segment in truth.segments if segment.category == category]
    kept = tuple(segment for segment in truth.segments if segment.category != category)
    return np.where(np.isin(truth.ids, dropped), 0, truth.ids).astype(np.int32), kept


def run(metric, images):
    for image_id, (prediction, truth) in images.items():
        metric.update(image_id, segment_overlaps(truth, prediction))
    return metric.result()


def test_ap_equals_pycocotools(images, categories, tmp_path, record_property):
    path = tmp_path / "instances.json"
    write_instances(path, sorted((i, truth) for i, (_, truth) in images.items()), categories)
    expected = official_scores(path, [(i, p) for i, (p, _) in images.items()], categories)
    result = run(CocoAP(categories), images)
    assert 5 < result.ap < 95 and result.ap_small < result.ap_medium
    assert result.per_class[3] is None and result.per_class[4:] == (None, None)
    difference = largest_difference(result, *expected)
    record_property("COCO AP of 0-100, absolute", difference)
    assert difference < 1e-9
    assert run(CocoAP(categories, OfficialInstances(path, categories)), images) == result


def test_ap_against_overlapping_polygons_equals_pycocotools(images, categories, tmp_path, record_property):
    path = tmp_path / "instances.json"
    generator = np.random.default_rng(1)
    write_instances(path, [(i, truth) for i, (_, truth) in images.items()], categories)
    content = json.loads(path.read_text())
    for entry in content["annotations"]:
        x, y, width, height = rle.toBbox(entry["segmentation"]).tolist()
        if not entry["iscrowd"]:
            angles = np.sort(generator.uniform(0, 2 * math.pi, 9))
            corners = np.stack(
                [x + width * (0.5 + np.cos(angles) / 2), y + height * (0.5 + np.sin(angles) / 2)], axis=1
            )
            entry["segmentation"] = [corners.ravel().tolist()]
    path.write_text(json.dumps(content))
    expected = official_scores(path, [(i, p) for i, (p, _) in images.items()], categories)
    result = run(CocoAP(categories, OfficialInstances(path, categories)), images)
    assert result.ap > 1
    difference = largest_difference(result, *expected)
    record_property("COCO AP, polygons, of 0-100, absolute", difference)
    assert difference < 1e-9


def test_parts_merge_to_the_whole(images, categories):
    whole, first, second = CocoAP(categories), CocoAP(categories), CocoAP(categories)
    expected = run(whole, images)
    ids = list(images)
    run(first, {i: images[i] for i in ids[::2]})
    run(second, {i: images[i] for i in ids[1::2]})
    second.merge(first.state)
    assert second.result() == expected


def test_hand_computed_ap(segmentation):
    things = (Category(1, "car", True), Category(2, "dog", True))
    truth = segmentation(["11112222"], (1, 0), (2, 0))
    # IoU 1 at score 0.5, IoU 3/4 at score 0.9: at the six thresholds to 0.75 both are right.
    prediction = segmentation(["33330444"], (3, 0, False, 0.5), (4, 0, False, 0.9))
    result = run(CocoAP(things), {1: (prediction, truth)})
    assert result.ap50 == result.ap75 == pytest.approx(100)
    # At the other four the first is wrong and the second right: precision 1/2 up to recall 1/2, the 51st of 101 points.
    assert result.ap == pytest.approx((6 * 100 + 4 * 100 * 51 / 101 / 2) / 10)
    assert result.per_class[1] is None


def test_without_things_and_without_images_there_is_no_ap(segmentation, categories):
    assert CocoAP(categories).result().ap is None
    stuff = (Category(1, "sky", False),)
    sky = segmentation(["11"], (1, 0))
    assert run(CocoAP(stuff), {1: (sky, sky)}).ap is None


def test_things_that_are_never_found_score_zero_and_crowds_alone_nothing(segmentation, categories):
    nothing, car = segmentation(["00"]), segmentation(["11"], (1, 0))
    assert run(CocoAP(categories), {1: (nothing, car)}).ap == 0
    assert run(CocoAP(categories), {1: (car, nothing)}).ap is None
    assert run(CocoAP(categories), {1: (car, segmentation(["11"], (1, 0, True)))}).ap is None


def test_files_that_are_no_instances_are_named(tmp_path, categories, segmentation):
    with pytest.raises(DataError, match="nowhere.json: no such file"):
        OfficialInstances(tmp_path / "nowhere.json", categories)
    for content in ("{", "[]", '{"annotations": [{}]}'):
        (tmp_path / "broken.json").write_text(content)
        with pytest.raises(DataError, match="broken.json: is no COCO instances JSON"):
            OfficialInstances(tmp_path / "broken.json", categories)
    write_instances(tmp_path / "other.json", [], categories)
    with pytest.raises(DataError, match="other.json: has no image 1"):
        car = segmentation(["11"], (1, 0))
        run(CocoAP(categories, OfficialInstances(tmp_path / "other.json", categories)), {1: (car, car)})
