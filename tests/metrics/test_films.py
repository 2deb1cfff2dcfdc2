import numpy as np
import pytest

from pisr_core.metrics.film_files import film_of
from pisr_core.metrics.films import FilmScores, tubes
from pisr_core.structures import Category, PanopticSegmentation, Segment

CATEGORIES = (Category(1, "road", False), Category(2, "car", True))


def frame(text, crowds=()):
    """A row of pixels, each the digit of its segment: 1 road, others cars, 0 void."""
    ids = np.array([[int(digit) for digit in text]], np.int32)
    segments = tuple(
        Segment(int(i), int(i > 1), int((ids == i).sum()), int(i) in crowds) for i in np.unique(ids) if i > 0
    )
    return PanopticSegmentation(ids, segments)


def scores(*films):
    counted = FilmScores(CATEGORIES)
    for film in films:
        counted.begin_film()
        for prediction, truth in film:
            counted.update(frame(prediction), truth if isinstance(truth, PanopticSegmentation) else frame(truth))
    return counted.result()


def test_a_perfect_film():
    result = scores([("1122", "1133"), ("1221", "1331"), ("2211", "3311")])
    assert (result.vpq, result.vpq_things, result.vpq_stuff) == (100, 100, 100)
    assert (result.stq, result.aq, result.sq) == (100, 100, 100)
    assert (result.id_switches, result.films, result.frames) == (0, 1, 3)
    assert {k: quality.n for k, quality in result.windows.items()} == {1: 2, 2: 2, 3: 2, 4: 0}
    assert result.windows[4].pq is None  # the film is too short


def test_a_change_of_id_by_hand():
    """Two frames, in each of which the car is found whole, but under another id in the second."""
    result = scores([("1122", "1122"), ("1133", "1122")])
    assert result.windows[1].pq == 100
    # Over both frames: the road is right; of the car each id has half, an IoU of 1/2, which is no match.
    assert result.windows[2].pq == 50 and result.vpq == 75
    assert (result.vpq_things, result.vpq_stuff) == (50, 100)
    # AQ = 1/4 · (2 · 2/4 + 2 · 2/4).
    assert (result.aq, result.sq) == (50, 100) and result.stq == pytest.approx(50**0.5 * 10)
    assert result.id_switches == 1


def test_quality_of_association_by_hand():
    """Id 2 has the whole first car and half of the second one, whose other half no id has."""
    result = scores([("1221", "1221"), ("1211", "1331")])
    # Predicted id 2: three pixels. Car 2: 2 · 2/(2 + 3 − 2) / 2; car 3: 1 · 1/(2 + 3 − 1) / 2.
    assert result.aq == pytest.approx(100 * (2 / 3 + 1 / 8) / 2)
    # Road: 4 of 5 pixels that either has; car: 3 of 4.
    assert result.sq == pytest.approx(100 * (4 / 5 + 3 / 4) / 2)
    assert result.id_switches == 0


def test_void_and_crowds_count_for_nothing():
    result = scores([("112222", frame("112200")), ("112233", frame("112233", crowds=(3,)))])
    assert (result.aq, result.vpq_things) == (100, 100)
    assert scores([("112222", frame("112233", crowds=(3,)))]).aq == 100  # what lies on the crowd is not held against it


def test_ids_of_one_film_mean_nothing_in_the_next():
    result = scores([("1122", "1122")], [("1133", "1122")])
    assert (result.films, result.id_switches, result.aq) == (2, 0, 100)
    assert result.windows[2].pq is None


def test_an_id_of_two_classes_is_two_tubes():
    first = frame("1122")
    second = PanopticSegmentation(first.ids, (Segment(1, 0, 2), Segment(2, 0, 2)))
    both = tubes([first, second])
    assert both.ids.tolist() == [[1, 1, 2, 2], [1, 1, 3, 3]]
    assert both.segments == (Segment(1, 0, 4), Segment(2, 1, 2), Segment(3, 0, 2))


@pytest.mark.parametrize(
    ("name", "film"),
    [
        ("clip_000001.png", "clip"),
        ("a/clip-12.jpg", "a/clip"),
        ("a/000012.png", "a/"),
        ("0005_0025_frankfurt_000000_001736_newImg8bit.png", "0005"),
    ],
)
def test_films_by_name(name, film):
    assert film_of(name) == film
