import numpy as np
import pytest

from pisr_core.structures import Category, PanopticSegmentation, Segment
from pisr_core.visualization import overlay as drawing
from pisr_core.visualization.overlay import colorize, overlay, palette

SKY = Category(1, "sky", False, (70, 130, 180))
CAR = Category(2, "car", True, (0, 0, 142))
CATEGORIES = (SKY, CAR)


def panoptic(rows, *segments, scale=1):
    ids = np.kron(np.array(rows, np.int32), np.ones((scale, scale), np.int32))
    return PanopticSegmentation(ids, tuple(Segment(i, category, 1) for i, category in segments))


def test_stuff_has_its_colour_and_void_is_black():
    colors = colorize(panoptic([[0, 5]], (5, 0)), CATEGORIES)
    assert colors.tolist() == [[[0, 0, 0], [70, 130, 180]]]


def test_instances_of_a_class_differ_and_stuff_segments_do_not():
    rows = [[1, 2, 3, 4, 5]]
    colors = colorize(panoptic(rows, (1, 1), (2, 1), (3, 1), (4, 0), (5, 0)), CATEGORIES)[0].tolist()
    assert colors[0] == [0, 0, 142]
    assert len({tuple(color) for color in colors[:3]}) == 3
    assert colors[3] == colors[4]


def test_shades_depend_on_the_ids_not_on_the_list_order():
    rows = [[7, 90000, 12]]
    first = colorize(panoptic(rows, (7, 1), (12, 1), (90000, 1)), CATEGORIES)
    second = colorize(panoptic(rows, (90000, 1), (7, 1), (12, 1)), CATEGORIES)
    np.testing.assert_array_equal(first, second)


def test_many_instances_stay_apart():
    ids = np.arange(1, 31, dtype=np.int32)[None]
    segments = tuple(Segment(i, 1, 1) for i in range(1, 31))
    colors = colorize(PanopticSegmentation(ids, segments), CATEGORIES)[0]
    assert len(np.unique(colors, axis=0)) == 30


def test_more_segments_than_two_bytes_count_stay_apart():
    ids = np.arange(1, 2**16 + 201, dtype=np.int32).reshape(-1, 8)
    map_ = PanopticSegmentation(ids, tuple(Segment(i, int(i > 2**16), 1) for i in range(1, ids.size + 1)))
    colors = palette(map_, CATEGORIES)
    assert (colorize(map_, CATEGORIES).reshape(-1, 3) == colors[1:]).all()
    assert len(np.unique(colors[2**16 + 1 :], axis=0)) > 150


@pytest.mark.parametrize("pixels", [1, 700, 20_000])
def test_what_is_drawn_some_rows_at_a_time_is_the_whole(monkeypatch, pixels):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 9, (13, 7)).tolist()
    map_ = panoptic(rows, *((i, i % 2) for i in range(1, 9)), scale=50)
    image = rng.integers(0, 256, (*map_.ids.shape, 3)).astype(np.uint8)
    whole = overlay(image, map_, CATEGORIES), colorize(map_, CATEGORIES)
    monkeypatch.setattr(drawing, "PIXELS_AT_ONCE", pixels)
    assert (overlay(image, map_, CATEGORIES) == whole[0]).all()
    assert (colorize(map_, CATEGORIES) == whole[1]).all()


def test_void_shows_the_image_and_borders_are_lighter():
    image = np.full((40, 80, 3), 90, np.uint8)
    picture = overlay(image, panoptic([[0, 1]], (1, 1), scale=40), CATEGORIES)
    assert (picture[:, :39] == 90).all()
    assert picture[20, 40].min() > 140
    assert picture[2, 70].tolist() != [90, 90, 90]
    assert (image == 90).all()


@pytest.mark.parametrize(("scale", "written"), [(60, True), (6, False)])
def test_names_are_written_only_where_they_fit(scale, written):
    map_ = panoptic([[1]], (1, 0), scale=scale)
    picture = overlay(np.zeros((*map_.ids.shape, 3), np.uint8), map_, CATEGORIES)
    assert (len(np.unique(picture.reshape(-1, 3), axis=0)) > 1) == written


def test_names_stay_within_their_segment():
    map_ = panoptic([[0, 1, 0]], (1, 0), scale=70)
    image = np.zeros((70, 210, 3), np.uint8)
    assert overlay(image, map_, CATEGORIES)[:, :69].max() == 0


def test_a_map_of_void_leaves_the_image():
    image = np.random.default_rng(0).integers(0, 256, (9, 11, 3)).astype(np.uint8)
    nothing = PanopticSegmentation(np.zeros((9, 11), np.int32), ())
    np.testing.assert_array_equal(overlay(image, nothing, CATEGORIES), image)


def test_names_of_any_letters_can_be_drawn():
    map_ = panoptic([[1]], (1, 0), scale=80)
    overlay(np.zeros((80, 80, 3), np.uint8), map_, (Category(1, "Straße 道", False, (9, 9, 9)),))


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (14, 1600), (17, 3000), (2000, 9)])
def test_pictures_of_any_size(size):
    map_ = PanopticSegmentation(np.ones(size, np.int32), (Segment(1, 0, 1),))
    assert overlay(np.zeros((*size, 3), np.uint8), map_, CATEGORIES).shape == (*size, 3)


def test_a_thing_keeps_its_colour_through_a_film():
    """Whatever other things there are: without lasting ids the second car becomes the first of its class."""
    image = np.full((1, 8, 3), 90, np.uint8)
    both = panoptic([[4, 4, 4, 4, 7, 7, 7, 7]], (4, 1), (7, 1))
    alone = panoptic([[0, 0, 0, 0, 7, 7, 7, 7]], (7, 1))
    kept = [overlay(image, frame, CATEGORIES, lasting_ids=True)[0, 6].tolist() for frame in (both, alone)]
    changed = [overlay(image, frame, CATEGORIES)[0, 6].tolist() for frame in (both, alone)]
    assert kept[0] == kept[1] and changed[0] != changed[1]
