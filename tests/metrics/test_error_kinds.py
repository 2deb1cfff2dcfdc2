"""What each kind of mistake costs, counted by hand on maps of one or two rows."""

import numpy as np
import pytest

from pisr_core.metrics.error_kinds import KINDS, error_counts
from pisr_core.metrics.overlaps import segment_overlaps
from pisr_core.metrics.panoptic_quality import match_segments
from pisr_core.metrics.scores import Scores
from pisr_core.structures import Category, PanopticSegmentation, Segment

CATEGORIES = (
    Category(1, "car", True),
    Category(2, "bus", True),
    Category(3, "road", False),
    Category(4, "grass", False),
)
CAR, BUS, ROAD, GRASS = range(4)
STUFF = np.array([False, False, True, True])


def panoptic(text, classes, crowds=""):
    """A map of one row: a letter a segment, a dot for void."""
    letters = sorted({*text} - {"."})
    ids = np.array([[0 if letter == "." else 1 + letters.index(letter) for letter in text]], np.int32)
    segments = [
        Segment(i, classes[letter], int((ids == i).sum()), letter in crowds) for i, letter in enumerate(letters, 1)
    ]
    return PanopticSegmentation(ids, tuple(segments))


def counted(truth, prediction):
    """By kind that occurs and class: IoU, TP, FP, FN, and mistakes that its mending adds."""
    overlaps = segment_overlaps(truth, prediction)
    found = error_counts(overlaps, match_segments(overlaps), STUFF)
    return {
        (kind, position): tuple(np.round(row, 6).tolist())
        for kind, rows in zip(KINDS, found, strict=True)
        for position, row in enumerate(rows)
        if row.any()
    }


def test_right_mask_wrong_class():
    """4 of 5 pixels: found with that IoU, the wrong one gone, one mistake."""
    found = counted(panoptic("aaaaarrrrr", {"a": CAR, "r": ROAD}), panoptic("aaaarrrrrr", {"a": BUS, "r": ROAD}))
    assert found == {
        ("class", CAR): (0.8, 1, 0, -1, 1),
        ("class", BUS): (0, 0, -1, 0, 0),
        ("mask", ROAD): (round(1 - 5 / 6, 6), 0, 0, 0, 1),
    }


def test_stuff_taken_for_stuff():
    """Whole: as above. In part: 4 of 6 pixels of road are predicted as grass and move, and grass gets rid of them."""
    found = counted(panoptic("rrrr", {"r": ROAD}), panoptic("rrrr", {"r": GRASS}))
    assert found == {("stuff", ROAD): (1, 1, 0, -1, 1), ("stuff", GRASS): (0, 0, -1, 0, 0)}
    found = counted(
        panoptic("rrrrrrgggggg", {"r": ROAD, "g": GRASS}), panoptic("rrgggggggggg", {"r": ROAD, "g": GRASS})
    )
    assert found == {("stuff", ROAD): (1, 1, -1, -1, 1), ("stuff", GRASS): (round(1 - 6 / 10, 6), 0, 0, 0, 1)}
    found = counted(
        panoptic("rrrrrrrrgg", {"r": ROAD, "g": GRASS}), panoptic("rrrrrrrrrr", {"r": ROAD})
    )  # grass has no partner at all, and is found where road is predicted
    assert found == {("stuff", ROAD): (round(1 - 8 / 10, 6), 0, 0, 0, 1), ("stuff", GRASS): (1, 1, 0, -1, 1)}


def test_split():
    """Three parts of 8 pixels, none of which matches: joined they have 7 of 8. With a match: it grows from 5 to 8."""
    found = counted(panoptic("aaaaaaaa", {"a": CAR}), panoptic("aaabbcc.", {"a": CAR, "b": CAR, "c": CAR}))
    assert found == {("split", CAR): (7 / 8, 1, -3, -1, 1)}
    found = counted(panoptic("aaaaaaaa", {"a": CAR}), panoptic("aaaaabbb", {"a": CAR, "b": CAR}))
    assert found[("split", CAR)] == (3 / 8, 0, -1, 0, 1)
    assert found[("mask", CAR)] == (3 / 8, 0, 0, 0, 1)  # its mask is inexact too, by itself


def test_merged():
    """3 of 4 pixels of each of two, and 2 of the road, as one: cut, each keeps what is predicted of it.

    With a match only the other one was lost, and the match gets rid of its pixels.
    """
    truth = panoptic("aaaabbbbrrrr", {"a": CAR, "b": CAR, "r": ROAD})
    found = counted(truth, panoptic(".aaaaaa.aarr", {"a": CAR, "r": ROAD}))
    assert found == {("merged", CAR): (3 / 4 + 3 / 4, 2, -1, -2, 2), ("mask", ROAD): (1, 1, -1, -1, 1)}
    found = counted(panoptic("aaaaaabb", {"a": CAR, "b": CAR}), panoptic("aaaaaaaa", {"a": CAR}))
    assert found == {("merged", CAR): (1 + 1 - 6 / 8, 1, 0, -1, 1), ("mask", CAR): (1 - 6 / 8, 0, 0, 0, 1)}


def test_loose_masks():
    """IoU 2/6 and 4/8 become matches with the masks of the truth; below 0.1 two have nothing to do with each other."""
    truth = panoptic("aaaarrrrrr", {"a": CAR, "r": ROAD})
    found = counted(truth, panoptic("rraaaarrrr", {"a": CAR, "r": ROAD}))
    assert found == {("mask", CAR): (1, 1, -1, -1, 1), ("mask", ROAD): (1, 1, -1, -1, 1)}
    found = counted(panoptic("aaaaaaaaa.", {"a": CAR}), panoptic("........aa", {"a": CAR}))
    assert found == {("mask", CAR): (1, 1, -1, -1, 1)}  # IoU 1/9, for void does not count
    truth = panoptic("aaaaaaaaaaarrrr", {"a": CAR, "r": ROAD})
    assert counted(truth, panoptic("..........aaa..", {"a": CAR})) == {
        ("made_up", CAR): (0, 0, -1, 0, 1),
        ("missed", CAR): (1, 1, 0, -1, 1),
        ("missed", ROAD): (1, 1, 0, -1, 1),
    }


def test_missed_and_made_up_and_what_does_not_count():
    """Crowds are never missed, and a prediction on void is no mistake."""
    truth = panoptic("aacc..rr", {"a": CAR, "c": BUS, "r": ROAD}, crowds="c")
    assert counted(truth, panoptic("..cccccc", {"c": BUS})) == {
        ("missed", CAR): (1, 1, 0, -1, 1),
        ("missed", ROAD): (1, 1, 0, -1, 1),
    }
    truth = panoptic("rrrr", {"r": ROAD})
    assert counted(truth, panoptic("rrra", {"r": ROAD, "a": CAR})) == {
        ("made_up", CAR): (0, 0, -1, 0, 1),
        ("mask", ROAD): (1 / 4, 0, 0, 0, 1),
    }


def test_costs_by_hand():
    """Car: 1 of 2 found exactly, PQ 1/1.5; road exact; a bus made up, PQ 0. Mean (66.7 + 100 + 0) / 3."""
    truth = panoptic("aabbrrrr", {"a": CAR, "b": CAR, "r": ROAD})
    prediction = panoptic("aa.urrrr", {"a": CAR, "u": BUS, "r": ROAD})
    scores = Scores(CATEGORIES, instances=False, semantic=False, details=True)
    scores.update(1, "1.png", prediction, truth)
    result = scores.result(0.0)
    pq = (100 / 1.5 + 100 + 0) / 3
    assert result.panoptic.all.pq == pytest.approx(pq)
    costs = {cost.kind: cost for cost in result.details.costs}
    assert list(costs) == list(KINDS)
    assert costs["missed"].all == pytest.approx(200 / 3 - pq) and costs["missed"].mistakes == 1
    assert costs["made_up"].all == pytest.approx((100 / 1.5 + 100) / 2 - pq)  # without it buses do not occur
    assert costs["made_up"].things == pytest.approx(100 / 1.5 - 100 / 3) and costs["made_up"].stuff == 0
    assert all(costs[kind].all == 0 and costs[kind].mistakes == 0 for kind in ("class", "stuff", "split", "merged"))


def random_maps(rng):
    size = (24, 24)
    maps = []
    for void in (0.1, 0.05):
        ids = np.kron(rng.integers(1, 7, (6, 6)), np.ones((4, 4), np.int32)).astype(np.int32)
        ids[rng.random(size) < void] = 0
        segments = tuple(
            Segment(i, int(rng.integers(0, 4)), int((ids == i).sum()), bool(void == 0.1 and rng.random() < 0.1))
            for i in np.unique(ids).tolist()
            if i
        )
        maps.append(PanopticSegmentation(ids, segments))
    # Half of it is right, so that all kinds occur.
    truth, prediction = maps
    ids = np.where(rng.random() < 0.7, np.where(np.arange(24)[:, None] < 15, truth.ids, prediction.ids), prediction.ids)
    listed = {s.id: s for s in (truth.segments if rng.random() < 0.5 else prediction.segments)}
    segments = tuple(Segment(i, listed[i].category if i in listed else 0, 1) for i in np.unique(ids).tolist() if i)
    return truth, PanopticSegmentation(ids.astype(np.int32), segments)


@pytest.mark.parametrize("seed", range(40))
def test_each_wrong_segment_is_of_one_kind_and_mending_never_costs(seed):
    truth, prediction = random_maps(np.random.default_rng(seed))
    overlaps = segment_overlaps(truth, prediction)
    matches = match_segments(overlaps)
    counts = error_counts(overlaps, matches, STUFF).sum(axis=(0, 1))
    right = matches.iou > 0
    missed = int((~overlaps.crowd & ~right.any(axis=1)).sum())
    superfluous = int((~matches.ignored & ~right.any(axis=0)).sum())
    assert -counts[3] == missed and -counts[2] == superfluous and counts[1] == missed
    scores = Scores(CATEGORIES, instances=False, semantic=False, details=True)
    scores.update(seed, "a.png", prediction, truth)
    assert all((cost.all or 0.0) >= -1e-9 for cost in scores.result(0.0).details.costs)
