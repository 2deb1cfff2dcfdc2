import numpy as np
import pytest
from scipy import ndimage

from pisr_core.pixel_runs import find_runs


def test_a_small_map_by_hand():
    runs = find_runs(np.array([[7, 7, 2], [2, 2, 7]], np.int32))
    assert runs.present.tolist() == [2, 7] and runs.areas.tolist() == [3, 3]
    # The 2 at the end of the first row and those below it are two runs: rows are kept apart.
    assert runs.starts.tolist() == [0, 2, 3, 5] and runs.lengths.tolist() == [2, 1, 2, 1]
    assert runs.boxes.tolist() == [[0, 0, 3, 2], [0, 0, 3, 2]]
    assert runs.positions().tolist() == [[1, 1, 0], [0, 0, 1]]
    assert runs.paint(np.array([10, 20], np.uint8)).tolist() == [[20, 20, 10], [10, 10, 20]]


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (40, 60)])
@pytest.mark.parametrize("largest", [1, 5, 2**24, 2**40])
def test_equals_what_sorting_every_pixel_gives(shape, largest):
    rng = np.random.default_rng(largest + shape[0])
    ids = np.repeat(rng.integers(0, largest, shape), 3, axis=1)
    present, inverse, areas = np.unique(ids, return_inverse=True, return_counts=True)
    runs = find_runs(ids)
    assert np.array_equal(runs.present, present) and np.array_equal(runs.areas, areas)
    assert np.array_equal(runs.positions(), inverse.reshape(ids.shape))
    windows = ndimage.find_objects(inverse.reshape(ids.shape) + 1)
    boxes = [(x.start, y.start, x.stop - x.start, y.stop - y.start) for y, x in windows]
    assert list(map(tuple, runs.boxes.tolist())) == boxes
    assert runs.paint(present).dtype == ids.dtype and np.array_equal(runs.paint(present), ids)


def test_an_empty_map_has_none():
    runs = find_runs(np.zeros((0, 5), np.int32))
    assert runs.present.size == runs.areas.size == runs.boxes.size == 0 and runs.positions().shape == (0, 5)
