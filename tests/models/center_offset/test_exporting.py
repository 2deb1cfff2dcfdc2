"""The merging of an exported graph is that of `pisr predict`."""

import pytest
import torch

from pisr_core.config import MergeConfig
from pisr_core.models.center_offset import exporting
from pisr_core.models.center_offset.exporting import merge_centers
from pisr_core.models.center_offset.merging.grouping import LABEL_DIVISOR
from pisr_core.models.center_offset.merging.panoptic import panoptic_labels
from pisr_core.models.exportable import VOID

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
    whole = exporting.nearest_centers(offset, centers, present)
    monkeypatch.setattr(exporting, "CENTERS_AT_ONCE", 3)
    assert torch.equal(exporting.nearest_centers(offset, centers, present), whole)
