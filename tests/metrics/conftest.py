import numpy as np
import pytest

from pisr_core.structures import Category, PanopticSegmentation, Segment


@pytest.fixture
def segmentation():
    """Makes a map from rows of digits; each segment is (id, category) or (id, category, iscrowd, score)."""

    def make(rows, *segments):
        ids = np.array([[int(digit) for digit in row] for row in rows], dtype=np.int32)
        return PanopticSegmentation(ids, tuple(Segment(s[0], s[1], int((ids == s[0]).sum()), *s[2:]) for s in segments))

    return make


@pytest.fixture
def categories():
    return tuple(Category(10 * (i + 1), f"class {i}", i < 4) for i in range(6))


@pytest.fixture
def random_pair():
    """Makes an annotation of coloured cells, and a prediction of it with moved, lost and mistaken cells."""

    def cells(points, size):
        rows, columns = np.mgrid[: size[0], : size[1]]
        return np.argmin([(rows - y) ** 2 + (columns - x) ** 2 for y, x in points], axis=0)

    def panoptic(ids, classes, crowd, scores):
        present = set(np.unique(ids).tolist())
        listed = [
            Segment(i, int(c), 0, bool(g), float(s))
            for i, (c, g, s) in enumerate(zip(classes, crowd, scores, strict=True), start=1)
            if i in present
        ]
        return PanopticSegmentation(ids.astype(np.int32), tuple(listed))

    def make(generator, categories, size=(60, 90), count=14):
        points = generator.uniform(0, 1, (count, 2)) * size
        classes = generator.integers(0, len(categories), count)
        isthing = np.array([category.isthing for category in categories])
        true_ids = cells(points, size) + 1
        true_ids[true_ids > count - 2] = 0
        crowd = isthing[classes] & (generator.random(count) < 0.25)
        truth = panoptic(true_ids, classes, crowd, np.ones(count))

        moved = points + generator.normal(0, 2.5, points.shape)
        guessed = np.where(generator.random(count) < 0.8, classes, generator.integers(0, len(categories), count))
        predicted_ids = cells(moved, size) + 1
        predicted_ids[np.isin(predicted_ids, generator.integers(1, count, 2))] = 0
        # Few digits, so that some scores are equal.
        scores = generator.random(count).round(1)
        return panoptic(predicted_ids, guessed, np.zeros(count), scores), truth

    return make
