import numpy as np
import torch

from pisr_core.models.boxes.structures import FPNTargets
from pisr_core.models.boxes.targets import FPNTargetGenerator
from pisr_core.structures import IGNORE_INDEX, PanopticSegmentation, Segment

IDS = np.array(
    [
        [1, 1, 1, 1, 0],
        [1, 7, 7, 1, 0],
        [2, 7, 3, 2, 9],
    ],
    dtype=np.int32,
)
# Stuff are classes 1 and 4; things 0, 2 and 3. Segment 9 is a crowd, 5 has no pixels.
SEGMENTS = (
    Segment(1, 4, 6),
    Segment(2, 1, 2),
    Segment(7, 3, 3),
    Segment(3, 0, 1),
    Segment(9, 2, 1, iscrowd=True),
    Segment(5, 2, 0),
)


def generate(ids=IDS, segments=SEGMENTS) -> FPNTargets:
    return FPNTargetGenerator(thing_ids=(0, 2, 3), stuff_ids=(1, 4))(PanopticSegmentation(ids, segments))


def test_semantic_has_one_class_for_all_things():
    void = IGNORE_INDEX
    assert generate().semantic.tolist() == [[2, 2, 2, 2, void], [2, 0, 0, 2, void], [1, 0, 0, 1, 0]]


def test_instances_without_crowds_and_empty_segments():
    targets = generate()
    assert targets.labels[0].tolist() == [2, 0]
    assert targets.boxes[0].tolist() == [[1, 1, 3, 3], [2, 2, 3, 3]]
    assert [mask.sum() for mask in targets.masks[0]] == [3, 1]
    assert torch.equal(targets.masks[0][0], torch.from_numpy(IDS == 7))


def test_an_image_without_things_and_a_batch():
    empty = generate(np.ones_like(IDS), SEGMENTS[:1])
    assert empty.boxes[0].shape == (0, 4) and empty.masks[0].shape == (0, 3, 5)
    batch = FPNTargets.stack([generate(), empty])
    assert batch.semantic.shape == (2, 3, 5) and [len(boxes) for boxes in batch.boxes] == [2, 0]


def test_the_256th_of_many_classes_is_not_void():
    generator = FPNTargetGenerator(thing_ids=(), stuff_ids=range(300))
    panoptic = PanopticSegmentation(np.array([[1, 0]], np.int32), (Segment(1, 254, 1),))
    assert generator(panoptic).semantic.tolist() == [[255, 65_535]]
