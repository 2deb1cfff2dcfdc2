from math import sqrt

import numpy as np
import pytest
import torch

from pisr_core.data.sampling import balanced_weights, repeat_factors, spread_over
from pisr_core.structures import Category, PanopticSegmentation, Sample, Segment


def test_first_and_last_are_among_them():
    assert spread_over(range(5), 16) == [0, 1, 2, 3, 4]
    assert spread_over(range(100), 4) == [0, 33, 66, 99]


def test_repeat_factors_by_hand():
    """Class 0 in all four images, 1 in two, 2 in one; rare is what fewer than half of the images have."""
    factors = repeat_factors([[0], [0, 1, 1], [0, 1, 2], [0]], threshold=0.5)
    assert factors.tolist() == pytest.approx([1, 1, sqrt(0.5 / 0.25), 1])
    assert repeat_factors([[0], [0, 1, 1], [0, 1, 2], [0]], 1.0).tolist() == pytest.approx([1, sqrt(2), 2, 1])
    assert repeat_factors([[], [0]], 0.5).tolist() == [1, 1]


class Images:
    categories = tuple(Category(i + 1, name, i > 0) for i, name in enumerate(("ground", "cat", "dog", "absent")))

    def __init__(self, areas):
        self.areas = areas

    def __len__(self):
        return len(self.areas)

    def size(self, index):
        return 1, 1

    def file_name(self, index):
        return f"{index}.png"

    def __getitem__(self, index):
        segments = tuple(Segment(i + 1, category, area) for i, (category, area) in enumerate(self.areas[index]))
        panoptic = PanopticSegmentation(np.zeros((1, 1), np.int32), segments)
        return Sample(torch.zeros(3, 1, 1, dtype=torch.uint8), panoptic, index, self.file_name(index))


def test_balanced_weights_by_hand():
    images = Images([[(0, 50), (1, 10)], [(0, 30), (1, 5), (1, 5), (2, 20)]])
    # 120 pixels of three classes, 80, 20 and 20; six segments, 2, 3 and 1.
    assert balanced_weights(images, by_segments=False) == {"ground": 0.5, "cat": 2.0, "dog": 2.0, "absent": 1.0}
    assert balanced_weights(images, by_segments=True) == {"ground": 1.0, "cat": 0.6667, "dog": 2.0, "absent": 1.0}
    assert balanced_weights(Images([[]]), by_segments=True) == dict.fromkeys(("ground", "cat", "dog", "absent"), 1.0)
