import numpy as np

from pisr_core.structures import Category, PanopticSegmentation, Segment
from pisr_core.visualization.differences import differing_pixels, largest_regions
from pisr_core.visualization.grid import Box

CATEGORIES = (Category(1, "road", False), Category(2, "car", True))


def panoptic(ids, **classes):
    """A map whose segments `s1`, `s2` … have the classes given."""
    ids = np.array(ids, np.int32)
    return PanopticSegmentation(
        ids, tuple(Segment(int(name[1:]), c, int((ids == int(name[1:])).sum())) for name, c in classes.items())
    )


def test_numbers_do_not_matter():
    first = panoptic([[1, 1, 2, 3, 0]], s1=0, s2=1, s3=1)
    second = panoptic([[9, 9, 3, 2, 0]], s9=0, s2=1, s3=1)
    assert not differing_pixels(first, second, CATEGORIES).any()


def test_classes_void_and_split_instances_differ():
    first = panoptic([[1, 1, 2, 2, 2, 0]], s1=0, s2=1)
    second = panoptic([[1, 5, 5, 2, 2, 1]], s1=0, s2=1, s5=1)
    # Car 2 keeps two of its three pixels; car 5 takes a road's pixel and a third of car 2.
    expected = [[False, True, True, False, False, True]]
    assert differing_pixels(first, second, CATEGORIES).tolist() == expected
    assert differing_pixels(second, first, CATEGORIES).tolist() == expected


def test_half_of_an_instance_is_not_the_same_instance():
    first, second = panoptic([[1, 1]], s1=1), panoptic([[1, 2]], s1=1, s2=1)
    assert differing_pixels(first, second, CATEGORIES).all()


def test_stuff_is_the_same_wherever_its_segments_end():
    first, second = panoptic([[1, 2]], s1=0, s2=0), panoptic([[3, 3]], s3=0)
    assert not differing_pixels(first, second, CATEGORIES).any()


def test_a_planted_difference_is_boxed_and_borders_are_not():
    ids = np.ones((60, 90), np.int32)
    ids[10:30, 20:50] = 2
    ids[40:50, 60:68] = 2
    ids[:, 88:] = 2
    first = panoptic(np.ones((60, 90), np.int32), s1=0)
    mask = differing_pixels(first, panoptic(ids, s1=0, s2=1), CATEGORIES)
    assert mask.sum() == 600 + 80 + 120
    assert largest_regions(mask) == [Box(20, 10, 30, 20), Box(60, 40, 8, 10)]
    assert largest_regions(mask, limit=1) == [Box(20, 10, 30, 20)]
    assert largest_regions(np.zeros((9, 9), bool)) == []
