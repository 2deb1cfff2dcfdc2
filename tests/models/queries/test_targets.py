import numpy as np
import torch

from pisr_core.models.queries.structures import MaskTargets
from pisr_core.models.queries.targets import MaskTargetGenerator
from pisr_core.structures import PanopticSegmentation, Segment


def test_each_segment_but_crowds_and_absent_ones():
    ids = np.array([[0, 7, 7], [9, 9, 4]], dtype=np.int32)
    segments = (Segment(9, 3, 2), Segment(7, 1, 2), Segment(4, 2, 1, iscrowd=True), Segment(5, 0, 0))
    targets = MaskTargetGenerator()(PanopticSegmentation(ids, segments))
    assert targets.labels[0].tolist() == [3, 1]
    assert targets.masks[0].int().tolist() == [[[0, 0, 0], [1, 1, 0]], [[0, 1, 1], [0, 0, 0]]]


def test_void_alone_gives_no_target_and_batches_keep_images_apart():
    empty = MaskTargetGenerator()(PanopticSegmentation(np.zeros((2, 3), dtype=np.int32), ()))
    one = MaskTargetGenerator()(PanopticSegmentation(np.ones((2, 3), dtype=np.int32), (Segment(1, 2, 6),)))
    assert empty.masks[0].shape == (0, 2, 3) and empty.labels[0].dtype == torch.long
    batch = MaskTargets.stack([empty, one]).to(torch.device("cpu"))
    assert [len(labels) for labels in batch.labels] == [0, 1]
    assert batch.masks[1].all()
