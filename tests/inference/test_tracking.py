import numpy as np
import pytest

from pisr_core.inference.tracking import MEMORY, Tracker
from pisr_core.structures import Category, PanopticSegmentation, Segment

CATEGORIES = (Category(1, "road", False), Category(2, "car", True), Category(3, "dog", True))
SIZE = 10


def frame(*boxes, shuffle=0):
    """A road with squares, (x, class) each, at row 20; ids as a network gives them, in any order."""
    ids = np.ones((50, 120), np.int32)
    segments = [Segment(1, 0, 0)]
    order = np.random.default_rng(shuffle).permutation(len(boxes)) + 2
    for number, (x, category) in zip(order.tolist(), boxes, strict=True):
        ids[20 : 20 + SIZE, x : x + SIZE] = number
        segments.append(Segment(number, category, SIZE * SIZE, score=0.5))
    return PanopticSegmentation(ids, tuple(segments))


def ids_at(panoptic, *xs):
    return [int(panoptic.ids[25, x + SIZE // 2]) for x in xs]


def test_ids_stay_while_things_move_and_a_network_numbers_them_anew():
    tracker = Tracker(CATEGORIES)
    seen = []
    for step in range(6):
        xs = (5 + 3 * step, 60 - 2 * step, 100)
        tracked = tracker.update(frame((xs[0], 1), (xs[1], 1), (xs[2], 2), shuffle=step))
        seen.append(ids_at(tracked, *xs))
        assert tracked.ids[0, 0] == 1 and {segment.id for segment in tracked.segments} == {1, *seen[-1]}
        assert {segment.score for segment in tracked.segments if segment.id > 1} == {0.5}
    assert seen == [[4, 5, 6]] * 6  # above the ids of stuff


def test_what_is_hidden_for_a_while_comes_back_as_itself():
    tracker = Tracker(CATEGORIES)
    position = [5 + 4 * step for step in range(20)]
    for step in range(6):
        (first,) = ids_at(tracker.update(frame((position[step], 1))), position[step])
    for _ in range(5):
        tracker.update(frame())
    assert ids_at(tracker.update(frame((position[11], 1))), position[11]) == [first]


def test_what_walks_behind_another_comes_out_as_itself():
    """Of the car there is less and less to see, nothing for five frames, and then a sliver at the other side."""
    tracker, seen = Tracker(CATEGORIES), []
    for step in range(25):
        x = 10 + 3 * step
        shown = frame((x, 1), (45, 2))
        shown.ids[shown.ids == shown.segments[1].id] = 1
        shown.ids[20 : 20 + SIZE, x : x + SIZE] = shown.segments[1].id
        shown.ids[15:35, 45:70] = shown.segments[2].id  # the wall is nearer
        visible = {int(i) for i in np.unique(shown.ids)}
        tracked = tracker.update(PanopticSegmentation(shown.ids, tuple(s for s in shown.segments if s.id in visible)))
        seen.append({segment.id for segment in tracked.segments if segment.category == 1})
    assert set() in seen and set.union(*seen) == {4} and seen[-1] == {4}


def test_what_is_gone_too_long_is_forgotten():
    tracker = Tracker(CATEGORIES)
    assert ids_at(tracker.update(frame((50, 1))), 50) == [4]
    for _ in range(MEMORY):
        tracker.update(frame())
    assert ids_at(tracker.update(frame((50, 1))), 50) == [5]


@pytest.mark.parametrize("after", [(51, 2), (85, 1)])
def test_another_class_or_another_place_is_another_thing(after):
    tracker = Tracker(CATEGORIES)
    tracker.update(frame((50, 1)))
    assert ids_at(tracker.update(frame(after)), after[0]) == [5]


def test_the_whole_of_a_frame_is_matched_at_once():
    """The left one overlaps both; it is left to that which has no other."""
    tracker = Tracker(CATEGORIES)
    tracker.update(frame((20, 1), (34, 1)))
    assert ids_at(tracker.update(frame((26, 1), (39, 1))), 26, 39) == [4, 5]


def test_an_empty_map():
    empty = PanopticSegmentation(np.zeros((4, 4), np.int32), ())
    assert Tracker(CATEGORIES).update(empty).segments == ()
