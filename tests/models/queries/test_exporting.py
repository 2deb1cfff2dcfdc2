"""The merging of an exported graph is that of `pisr predict`."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pisr_core.models.exportable import VOID
from pisr_core.models.queries.exporting import merge_queries
from pisr_core.models.queries.merging import MergingRule, merge_masks
from pisr_core.models.resizing import to_output_size

THINGS, CLASSES = (1, 3), 5


def enlarge(mask_logits):
    return F.interpolate(mask_logits, scale_factor=4, mode="bilinear").sigmoid()


@pytest.mark.parametrize("rule", [{}, {"own_pixels": True}, {"weighted_masks": True}], ids=str)
@pytest.mark.parametrize("seed", range(5))
def test_queries_merge_as_they_do_otherwise(seed, rule):
    torch.manual_seed(seed)
    class_logits, mask_logits = 4 * torch.randn(2, 27, CLASSES + 1), 3 * torch.randn(2, 27, 9, 12) - 1
    if seed == 0:
        class_logits[1, :, -1] = 50  # an image without a segment
    rule = MergingRule(object_mask_threshold=0.7, overlap_threshold=0.1, **rule)
    category, instance = merge_queries(class_logits, mask_logits, THINGS, enlarge, rule)
    for index in range(2):
        masks = to_output_size(mask_logits[index], (36, 48), (36, 48))
        expected = merge_masks(class_logits[index], masks, THINGS, rule)
        classes = expected.semantic().astype(np.int64)
        np.testing.assert_array_equal(category[index], np.where(expected.ids == 0, VOID, classes))
        # Each pair of class and instance is one segment.
        pairs = (1000 * category[index] + instance[index]).numpy()
        joint = len(set(zip(pairs.flat, expected.ids.flat, strict=True)))
        assert len(np.unique(pairs)) == len(np.unique(expected.ids)) == joint
        stuff = ~np.isin(category[index], THINGS)
        assert not instance[index][stuff].any() and (instance[index][~stuff] > 0).all()
    assert (category == VOID).any() and instance.max() > 0
