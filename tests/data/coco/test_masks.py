import numpy as np
import pytest
from pycocotools import mask as coco_mask

from pisr_core.data.coco.masks import decoded_segmentation, encoded_segmentation

SIZE = (4, 5)


def compressed(mask):
    encoded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(mask.shape), "counts": encoded["counts"].decode()}


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_compressed_run_lengths_are_those_of_pycocotools(share):
    generator = np.random.default_rng(0)
    for size in ((1, 1), (7, 90), (300, 200)):
        mask = generator.random(size) < share
        assert (decoded_segmentation(compressed(mask), size) == mask).all()
        assert encoded_segmentation(compressed(mask), size)["counts"].decode() == compressed(mask)["counts"]


def test_long_runs_and_large_differences():
    mask = np.zeros((2000, 1000), bool)
    mask[3, 0] = mask[1999, 999] = True
    mask[:, 500:502] = True
    assert (decoded_segmentation(compressed(mask), mask.shape) == mask).all()


def test_uncompressed_run_lengths_go_down_the_columns():
    mask = decoded_segmentation({"size": [4, 5], "counts": [2, 3, 15]}, SIZE)
    assert np.argwhere(mask).tolist() == [[0, 1], [2, 0], [3, 0]]


def test_polygons_are_drawn_as_pycocotools_draws_them():
    polygons = [[0, 0, 2, 0, 2, 2, 0, 2], [3.5, 2.5, 5, 2.5, 5, 4]]
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, *SIZE)))
    assert (decoded_segmentation(polygons, SIZE) == expected).all() and expected.any()


@pytest.mark.parametrize(
    "shape",
    [
        None,
        5,
        "text",
        {},
        {"size": [4, 6], "counts": [20]},
        {"size": [10**9, 10**9], "counts": [10**18]},
        {"size": [4, 5], "counts": [2, 3]},  # the rest would be whatever the memory held
        {"size": [4, 5], "counts": [2, 30]},
        {"size": [4, 5], "counts": [-5, 25]},
        {"size": [4, 5], "counts": [2.5, 17.5]},
        {"size": [4, 5], "counts": [True, 19]},
        {"size": [4, 5], "counts": None},
        {"size": [4, 5], "counts": ""},
        {"size": [4, 5], "counts": "2o"},  # the last character says that more follow
        {"size": [4, 5], "counts": "oooooooooooo0"},
        {"size": [4, 5], "counts": "é~"},
        {"size": [4, 5], "counts": "2\x003"},
        [[0, 0, 1, 1]],
        [[0, 0, 1, 1, 2]],
        [[0, 0, 1, 1, 2, 1e308]],
        [[0, 0, 1, 1, 2, float("nan")]],
        [[0, 0, 1, 1, 2, -2000]],
        [[0, 0, 1, 1, 2, "3"]],
        [0, 0, 1, 1, 2, 3],
    ],
)
def test_what_would_reach_beyond_the_memory_is_refused(shape):
    with pytest.raises(ValueError):
        encoded_segmentation(shape, SIZE)
