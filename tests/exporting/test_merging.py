import numpy as np
import pytest
import torch

from pisr_core.config import MergeConfig
from pisr_core.exporting import merging
from pisr_core.exporting.merging import merge_centers, merge_queries
from pisr_core.models.center_offset.merging import LABEL_DIVISOR, VOID, panoptic_labels
from pisr_core.models.queries.merging import merge_masks
from pisr_core.models.resizing import to_output_size

THINGS, CLASSES = (1, 3), 5


def merge_normally(semantic, center, offset, config, things=THINGS):
    labels = [
        panoptic_labels(
            s,
            c,
            o,
            things,
            center_threshold=config.center_threshold,
            nms_kernel=config.nms_kernel,
            top_k=config.top_k,
            stuff_area=round(config.stuff_area * s.numel()),
        )
        for s, c, o in zip(semantic, center, offset, strict=True)
    ]
    labels = torch.stack(labels)
    void = labels == VOID
    return torch.where(void, VOID, labels // LABEL_DIVISOR), torch.where(void, 0, labels % LABEL_DIVISOR)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("top_k", [4, 20, 200])
def test_centers_merge_as_they_do_otherwise(seed, top_k):
    torch.manual_seed(seed)
    blocks = torch.randint(0, CLASSES, (2, 6, 8))
    semantic = blocks.repeat_interleave(6, 1).repeat_interleave(6, 2)
    center = torch.rand(2, 36, 48) ** 8
    if seed == 0:
        center[1] = 0  # an image without a centre
    offset = 6 * torch.randn(2, 2, 36, 48).round()  # many equal distances
    config = MergeConfig(center_threshold=0.3, nms_kernel=5, top_k=top_k, stuff_area=0.15)
    expected = merge_normally(semantic, center, offset, config)
    actual = merge_centers(semantic, center, offset, THINGS, CLASSES, config)
    assert torch.equal(actual[0], expected[0]) and torch.equal(actual[1], expected[1])
    assert actual[1].max() > 1


def test_without_things_there_are_no_instances():
    semantic = torch.zeros(1, 8, 8, dtype=torch.long)
    semantic[0, 0, 0] = 2
    category, instance = merge_centers(
        semantic, torch.ones(1, 8, 8), torch.zeros(1, 2, 8, 8), (), 3, MergeConfig(stuff_area=0.1)
    )
    assert category[0, 0].tolist() == [VOID] + 7 * [0] and not instance.any()


def test_the_number_of_centers_at_once_changes_nothing(monkeypatch):
    offset, centers = 9 * torch.randn(2, 2, 20, 30), torch.randint(0, 20, (2, 17, 2))
    present = torch.rand(2, 17) < 0.7
    whole = merging.nearest_centers(offset, centers, present)
    monkeypatch.setattr(merging, "CENTERS_AT_ONCE", 3)
    assert torch.equal(merging.nearest_centers(offset, centers, present), whole)


@pytest.mark.parametrize("seed", range(5))
def test_queries_merge_as_they_do_otherwise(seed):
    torch.manual_seed(seed)
    class_logits, mask_logits = 4 * torch.randn(2, 27, CLASSES + 1), 3 * torch.randn(2, 27, 9, 12) - 1
    if seed == 0:
        class_logits[1, :, -1] = 50  # an image without a segment
    thresholds = {"object_mask_threshold": 0.7, "overlap_threshold": 0.1}
    category, instance = merge_queries(class_logits, mask_logits, THINGS, scale=4, **thresholds)
    for index in range(2):
        masks = to_output_size(mask_logits[index], (36, 48), (36, 48))
        expected = merge_masks(class_logits[index], masks, THINGS, **thresholds)
        classes = expected.semantic().astype(np.int64)
        np.testing.assert_array_equal(category[index], np.where(expected.ids == 0, VOID, classes))
        # Each pair of class and instance is one segment.
        pairs = (1000 * category[index] + instance[index]).numpy()
        joint = len(set(zip(pairs.flat, expected.ids.flat, strict=True)))
        assert len(np.unique(pairs)) == len(np.unique(expected.ids)) == joint
        stuff = ~np.isin(category[index], THINGS)
        assert not instance[index][stuff].any() and (instance[index][~stuff] > 0).all()
    assert (category == VOID).any() and instance.max() > 0
