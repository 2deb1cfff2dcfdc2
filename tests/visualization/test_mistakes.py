import numpy as np
import pytest

from pisr_core.metrics.scores import Scores
from pisr_core.structures import Category, PanopticSegmentation, Segment
from pisr_core.visualization.mistakes import MISTAKE_COLOR, draw_mistakes, mistaken_pixels

CATEGORIES = (Category(1, "road", False), Category(2, "car", True))


def segmentation(rows, *segments):
    ids = np.array([[int(digit) for digit in row] for row in rows], np.int32)
    return PanopticSegmentation(ids, tuple(Segment(i, c, int((ids == i).sum()), crowd) for i, c, crowd in segments))


@pytest.fixture
def pair():
    """A car found with one pixel too few, a missed car, a crowd and void; the road is found."""
    truth = segmentation(["1112204", "1112234", "1111130"], (1, 0, False), (2, 1, False), (3, 1, False), (4, 1, True))
    prediction = segmentation(["1112211", "1112111", "1111111"], (1, 0, False), (2, 1, False))
    return prediction, truth


def test_mistakes_are_what_no_match_covers(pair):
    mistaken = mistaken_pixels(*pair)
    assert mistaken.astype(int).tolist() == [[0] * 7, [0, 0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 1, 0]]


def test_they_are_as_many_as_the_scores_say(pair):
    scores = Scores(CATEGORIES)
    scores.update(1, "a.png", *pair)
    (image,) = scores.result(0.0).worst
    assert image.mistaken_pixels == mistaken_pixels(*pair).sum() == 3
    assert image.annotated_pixels == 3 * 7 - 4


def test_mistakes_are_red_in_a_pale_grey_picture():
    image = np.full((1, 2, 3), (30, 60, 90), np.uint8)
    right, wrong = draw_mistakes(image, np.array([[False, True]]))[0]
    assert right.tolist() == [int(0.35 * 60 + 0.65 * 255)] * 3
    assert wrong.tolist() == [int(0.35 * 60 + 0.65 * part) for part in MISTAKE_COLOR]
