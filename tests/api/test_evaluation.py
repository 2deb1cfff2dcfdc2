import numpy as np
import pytest
import torch

from pisr_core import Category, PanopticSegmentation, Predictor, Segment, evaluate, load_model, panoptic_quality
from pisr_core.data import build_dataset
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.errors import ConfigError, DataError
from pisr_core.evaluation.evaluate import evaluate as evaluate_network
from pisr_core.weights.files.checkpoint import save_checkpoint

CPU = torch.device("cpu")
CLASSES = (Category(10, "car", True), Category(20, "road", False))


def panoptic(scores):
    return scores.to_json()["panoptic"]


def test_a_file_a_predictor_and_a_network_get_the_scores_of_the_command(tiny_model, tiny_config, tmp_path):
    dataset = build_dataset(tiny_config.data, "val")
    expected = panoptic(evaluate_network(tiny_model, dataset, tiny_config.data, CPU, workers=0, limit=2))
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, tiny_model.state_dict(), tiny_config, SCENE_CATEGORIES, {})
    seen = []
    assert panoptic(evaluate(tiny_model, limit=2, observe=lambda sample, _: seen.append(sample.image_id))) == expected
    assert panoptic(evaluate(Predictor(tiny_model, CPU), dataset, limit=2)) == expected
    assert panoptic(evaluate(str(path), limit=2, device="cpu")) == expected
    assert seen == [dataset[0].image_id, dataset[1].image_id]
    with pytest.raises(DataError, match="nowhere"):
        evaluate(load_model(path, "cpu"), "nowhere", dataset="custom")
    with pytest.raises(ConfigError, match="choose one of"):
        evaluate(tiny_model, dataset="scenery")


def maps(text, ids):
    """A map of one row from the letters of its classes (c car, r road, - void), and the instances' ids."""
    values = {"c": 10, "r": 20, "-": -1}
    return np.array([[(values[letter], number) for letter, number in zip(text, ids, strict=True)]])


TRUTH = maps("ccccrrrr--", [1, 1, 2, 2, 0, 0, 0, 0, 0, 0])
PREDICTED = maps("cccccrrrr-", [5, 5, 5, 9, 9, 0, 3, 7, 0, 0])
"""One car with IoU 2/3, one missed and one made up; the road with IoU 3/4, for its pixel on void does not count."""


def test_quality_of_arrays_by_hand():
    metric = panoptic_quality(CLASSES)
    metric.update(PREDICTED, TRUTH)
    result = metric.compute()
    car, road = result.per_class
    assert (car.tp, car.fp, car.fn) == (1, 1, 1) and car.sq == pytest.approx(100 * 2 / 3)
    assert car.pq == pytest.approx(100 * 2 / 3 / 2)
    assert (road.tp, road.fp, road.fn) == (1, 0, 0) and road.pq == pytest.approx(75)
    assert result.things.pq == pytest.approx(car.pq) and result.all.pq == pytest.approx((car.pq + road.pq) / 2)
    metric.reset()
    assert metric.compute().all.pq is None


def test_tensors_batches_and_maps_count_alike():
    ids = np.array([[1, 1, 2, 2, 3, 3, 3, 3, 0, 0]], np.int32)
    segments = (Segment(1, 0, 2), Segment(2, 0, 2), Segment(3, 1, 4))
    one, batch = panoptic_quality(CLASSES), panoptic_quality(CLASSES)
    for _ in range(2):
        one.update(PREDICTED, PanopticSegmentation(ids, segments))
    batch.update(torch.tensor(np.stack([PREDICTED] * 2)), torch.tensor(np.stack([TRUTH] * 2)))
    assert one.compute() == batch.compute() and one.compute().per_class[0].tp == 2


def test_it_is_torchmetrics_definition_where_that_is_defined():
    """A perfect map has PQ 100; classes that never occur do not count."""
    metric = panoptic_quality("coco")
    pairs = np.array([[(1, 1), (1, 2), (184, 0), (184, 5)]])
    metric.update(pairs, pairs)
    assert metric.compute().all.pq == 100 and metric.compute().all.n == 2


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (PREDICTED + 1, r"category ids \[0, 11, 21\] belong to no class. Write void as -1"),
        (PREDICTED[..., :1], r"\(H, W, 2\)"),
        (PREDICTED.astype(float), "whole numbers"),
        (PREDICTED[:, :4], "1×4"),
    ],
)
def test_other_arrays_are_refused_with_the_cure(prediction, message):
    with pytest.raises(DataError, match=message):
        panoptic_quality(CLASSES).update(prediction, TRUTH)


def test_unknown_datasets_are_refused():
    with pytest.raises(ConfigError, match="coco"):
        panoptic_quality("cocoa")
