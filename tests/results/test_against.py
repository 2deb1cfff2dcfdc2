"""Two models on the same images: differences by hand, intervals with known coverage, and files that do not fit."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pisr_core.errors import DataError
from pisr_core.metrics.details import ImageCounts
from pisr_core.metrics.scores import Scores
from pisr_core.results.against import compare_with, read_scores
from pisr_core.results.scores import against_table
from pisr_core.structures import Category, PanopticSegmentation, Segment

CATEGORIES = (Category(7, "car", True), Category(9, "bus", True), Category(11, "road", False))
EMPTY = PanopticSegmentation(np.zeros((2, 8), np.int32), ())
TRUTH = PanopticSegmentation(np.repeat([[1], [3]], 8, axis=1).astype(np.int32), (Segment(1, 0, 8), Segment(3, 2, 8)))
CAR = PanopticSegmentation(np.repeat([[1], [0]], 8, axis=1).astype(np.int32), (Segment(1, 0, 8),))


def scored(predictions, categories=CATEGORIES, first=0):
    scores = Scores(categories, instances=False, semantic=False, details=True)
    for number, prediction in enumerate(predictions, start=first):
        scores.update(number, f"{number}.png", prediction, TRUTH)
    return scores.result(0.0)


def written(path, result):
    path.write_text(json.dumps({**result.to_json(), **result.details_to_json()}))
    return read_scores(path)


def test_differences_by_hand(tmp_path):
    """Here the car is found in 3 of 4 images and the road in 1, there in 2 and in 2."""
    here = scored([TRUTH, CAR, CAR, EMPTY])
    there = written(tmp_path / "s.json", scored([TRUTH, TRUTH, EMPTY, EMPTY]))
    found = compare_with(there, here)
    car, bus, road = found.per_class
    pq = [200 * n / (n + 4) for n in range(5)]  # n found, 4 - n missed: n / (n + (4 - n) / 2)
    assert (car.pq, car.against, car.difference) == pytest.approx((pq[3], pq[2], pq[3] - pq[2]))
    assert (road.pq, road.against) == pytest.approx((pq[1], pq[2])) and bus.difference is None
    assert found.groups["all"].difference == pytest.approx((pq[3] + pq[1]) / 2 - pq[2])
    assert found.groups["things"] == car and found.groups["stuff"] == road
    assert car.low < car.difference < car.high and not car.clear
    assert [(image.score.image_id, image.score.pq, image.against) for image in found.images] == [
        (1, 50, 100),
        (2, 50, 0),
    ]
    assert [row["class"] for row in against_table(found).rows] == ["all", "things", "stuff", "car", "road"]
    assert json.dumps(found.to_json()) and compare_with(there, here) == found  # the same each time


def test_a_model_against_itself_differs_by_nothing(tmp_path):
    """The same images are drawn for both: the interval has no width."""
    result = scored([TRUTH, CAR, EMPTY] * 5)
    found = compare_with(written(tmp_path / "s.json", result), result)
    assert found.images == () and {d.low for d in found.groups.values()} == {0.0}


def with_cars(result, found):
    """The result, with one car in each image."""
    counts = [np.array([[1.0, 1, 0, 0] if there else [0.0, 0, 0, 1]]) for there in found]
    template = result.details.images[0].score
    scores = [replace(template, image_id=number, pq=100.0 * there) for number, there in enumerate(found)]
    images = [ImageCounts(score, np.array([0]), rows) for score, rows in zip(scores, counts, strict=True)]
    return replace(result, details=replace(result.details, images=tuple(images)))


def test_intervals_hold_the_truth_as_often_as_they_say(tmp_path):
    """Of 40 comparisons on 80 images, in which the models find a car with 0.6 and 0.8, about 95 % hold the truth."""
    truth = 200 * 0.6 / 1.6 - 200 * 0.8 / 1.8
    result, generator, held = scored([CAR]), np.random.default_rng(1), 0
    for _ in range(40):
        ours, theirs = (with_cars(result, (generator.random(80) < chance).tolist()) for chance in (0.6, 0.8))
        things = compare_with(written(tmp_path / "s.json", theirs), ours).groups["things"]
        held += things.low <= truth <= things.high
    assert 35 <= held <= 40


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("per_image"), "has no scores of single images. Evaluate that model again with --out"),
        (lambda d: d["per_image"].pop(), "other images: 1 are here alone and 0 there alone, such as 1"),
        (lambda d: d["categories"][0].update(name="van"), r"other classes: 1 are here alone and 1 there.*\(7, 'car'\)"),
        (lambda d: d["per_image"][0].update(classes={"7": [1]}), "is no scores.json of pisr eval"),
        (lambda d: d["per_image"][0].update(classes={"8": [1, 1, 0, 0]}), "is no scores.json of pisr eval"),
        (lambda d: d.update(per_image=3), "is no scores.json of pisr eval"),
    ],
)
def test_scores_that_do_not_fit(tmp_path, change, message):
    result = scored([TRUTH, TRUTH])
    document = json.loads(json.dumps({**result.to_json(), **result.details_to_json()}))
    change(document)
    (tmp_path / "s.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match=f"s.json: .*{message}"):
        compare_with(read_scores(tmp_path / "s.json"), result)
