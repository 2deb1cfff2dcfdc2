import json
import pickle
import tracemalloc

import numpy as np
import pytest

from pisr_core.data.categories import known_categories
from pisr_core.metrics.scores import Scores
from pisr_core.structures import Category

CITYSCAPES = known_categories("cityscapes")


def add(scores, images):
    for image_id, (prediction, truth) in images:
        scores.update(image_id, f"{image_id}.png", prediction, truth)


@pytest.mark.parametrize("known", [True, False])
def test_parts_merge_to_the_whole_whatever_their_order(random_pair, categories, known):
    categories = CITYSCAPES if known else categories
    generator = np.random.default_rng(0)
    images = [(f"image_{index}", random_pair(generator, categories)) for index in range(9)]
    whole, total = Scores(categories), Scores(categories)
    add(whole, images)
    for start in (2, 0, 1):
        part = Scores(categories)
        add(part, images[start::3])
        total.merge(pickle.loads(pickle.dumps(part.state())))
    merged, expected = total.result(0.0), whole.result(0.0)
    assert merged.instance == expected.instance and merged.confusion == expected.confusion
    assert merged.worst == expected.worst and len(merged.worst) == 9
    pairs = list(zip(values(merged.to_json()), values(expected.to_json()), strict=True))
    assert all(ours == theirs or ours == pytest.approx(theirs, rel=1e-12) for ours, theirs in pairs)


def values(scores):
    for value in scores.values():
        yield from values(value) if isinstance(value, dict) else [value]


def test_json_has_the_contracts_keys(random_pair, categories):
    scores = Scores(categories)
    add(scores, [(1, random_pair(np.random.default_rng(0), categories))])
    content = json.loads(json.dumps(scores.result(1.23456).to_json(), allow_nan=False))
    assert set(content) == {"panoptic", "semantic", "instance", "images", "seconds"}
    assert set(content["panoptic"]) == {"all", "things", "stuff", "per_class"}
    assert set(content["panoptic"]["all"]) == {"pq", "sq", "rq", "n"}
    assert set(content["semantic"]) == {"miou", "pixel_accuracy", "per_class"}
    assert {"ap", "ap50", "ap75", "per_class"} < set(content["instance"])
    for part in content.values():
        if isinstance(part, dict):
            assert set(part["per_class"]) == {str(category.id) for category in categories}
    assert content["instance"]["per_class"]["60"] is None and content["seconds"] == 1.235


def test_cityscapes_has_iiou_and_its_own_ap(random_pair):
    scores = Scores(CITYSCAPES)
    add(scores, [("ulm_000000_000019", random_pair(np.random.default_rng(0), CITYSCAPES, (96, 160)))])
    content = scores.result(0.0).to_json()
    assert content["instance"]["ap75"] is None
    assert content["semantic"]["iiou"] == pytest.approx(
        np.mean([value for value in content["semantic"]["iiou_per_class"].values() if value is not None])
    )


def test_ap_is_left_out_when_it_is_not_wanted(random_pair, categories):
    scores = Scores(categories, instances=False)
    add(scores, [(1, random_pair(np.random.default_rng(0), categories))])
    result = scores.result(0.0)
    assert result.instance is None and "instance" not in result.to_json()


def test_without_any_image_nothing_has_a_score(categories):
    scores = Scores(categories).result(0.0).to_json()
    assert scores["panoptic"]["all"] == {"pq": None, "sq": None, "rq": None, "n": 0}
    assert scores["semantic"]["miou"] is None and scores["instance"]["ap"] is None and scores["images"] == 0


def test_mistaken_pixels_are_those_outside_of_matches(segmentation):
    categories = (Category(1, "car", True), Category(2, "sky", False))
    truth = segmentation(["1111222233"], (1, 0), (2, 1), (3, 0, True))
    # The car's match has three pixels, the sky has none, the crowd does not count.
    prediction = segmentation(["4445566660"], (4, 0), (5, 0), (6, 0))
    scores = Scores(categories)
    add(scores, [(7, (prediction, truth))])
    (image,) = scores.result(0.0).worst
    assert (image.image_id, image.file_name) == (7, "7.png")
    assert (image.mistaken_pixels, image.annotated_pixels) == (5, 8)
    assert image.pq == pytest.approx(100 * (0.75 / (1 + 0.5 + 0.5) + 0) / 2)


def test_segments_of_one_pixel_match(segmentation):
    categories = (Category(1, "car", True), Category(2, "sky", False))
    truth = segmentation(["1222"], (1, 0), (2, 1))
    scores = Scores(categories)
    add(scores, [(1, (truth, truth))])
    result = scores.result(0.0)
    assert (result.panoptic.all.pq, result.instance.ap, result.semantic.miou) == pytest.approx((100, 100, 100))
    assert result.worst == ()


def test_an_image_leaves_little_in_memory(random_pair, categories):
    pair = random_pair(np.random.default_rng(0), categories, (24, 36), 12)
    scores = Scores(categories)
    add(scores, [(index, pair) for index in range(20)])
    tracemalloc.start()
    try:
        add(scores, [(index, pair) for index in range(20, 80)])
        assert tracemalloc.get_traced_memory()[0] / 60 < 1500
    finally:
        tracemalloc.stop()
