import numpy as np
import pytest
from pycocotools.cocoeval import COCOeval

from pisr_core.metrics.detections import Outcome
from pisr_core.metrics.matching import Instances, match_detections

RANGES = np.array([[0, 1e10], [0, 100], [100, 1000]], np.float64)
THRESHOLDS = np.array([0.5, 0.75, 1.0])


def outcomes(iou, areas, true_areas, crowds):
    instances = Instances(np.zeros(len(true_areas), np.int64), np.array(true_areas), np.array(crowds, bool))
    return match_detections(np.array(iou, np.float64), np.array(areas), instances, THRESHOLDS, RANGES)


def test_by_hand():
    # The second detection fits the first instance better, but it is taken; the crowd takes any number.
    iou = [[0.8, 0.6, 0.0], [0.9, 0.5, 0.0], [0.0, 0.0, 0.7], [0.0, 0.0, 1.0]]
    found = outcomes(iou, [50, 50, 200, 200], [40, 90, 500], [False, False, True])
    assert found[0, 0].tolist() == [Outcome.TRUE_POSITIVE] * 2 + [Outcome.IGNORED] * 2
    assert found[0, 1].tolist() == [1, 0, 0, 2]
    assert found[0, 2].tolist() == [0, 0, 0, 2]
    assert found[1, 0].tolist() == [1, 1, 2, 2]
    assert found[2, 0].tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize("seed", range(30))
def test_equals_pycocotools(seed):
    """Few values of IoU, so that many are equal and stand on a threshold."""
    rng = np.random.default_rng(seed)
    detections, truths = rng.integers(0, 9, 2)
    iou = rng.choice([0.0, 0.3, 0.5, 0.75, 0.8, 1.0], (detections, truths))
    areas, true_areas = (rng.choice([0, 99, 100, 101, 1000, 5000], n) for n in (detections, truths))
    crowds = rng.random(truths) < 0.3
    evaluator = COCOeval()
    evaluator.params.iouThrs = THRESHOLDS
    key = (0, 0)
    evaluator._gts[key] = [
        {"id": i + 1, "area": int(a), "iscrowd": int(c), "ignore": int(c)}
        for i, (a, c) in enumerate(zip(true_areas, crowds, strict=True))
    ]
    evaluator._dts[key] = [{"id": i + 1, "area": int(a), "score": 1 - i / 100} for i, a in enumerate(areas)]
    evaluator.ious[key] = iou
    found = outcomes(iou, areas, true_areas, crowds)
    for of_range, limits in zip(found, RANGES.tolist(), strict=True):
        theirs = evaluator.evaluateImg(*key, limits, 100)
        if theirs is not None:
            right = np.where(theirs["dtMatches"] > 0, Outcome.TRUE_POSITIVE, Outcome.FALSE_POSITIVE)
            assert (of_range == np.where(theirs["dtIgnore"], Outcome.IGNORED, right)).all()
