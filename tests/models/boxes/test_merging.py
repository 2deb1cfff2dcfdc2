import json

import numpy as np
import pytest
import torch

from pisr_core.config import Config, FPNConfig, MergeConfig
from pisr_core.models.boxes.instances import paste_masks
from pisr_core.models.boxes.merging import confident_first, fpn_panoptic, merge_fpn, placement, stack_instances
from pisr_core.models.boxes.structures import Detections
from pisr_core.runtime.devices.memory import PeakMemory
from pisr_core.structures import IGNORE_INDEX


def whole(masks):
    """Placed masks whose windows are the whole image."""
    return lambda index: ((slice(0, masks.shape[1]), slice(0, masks.shape[2])), masks[index])


def merge(semantic, place, scores, *, score_threshold, **settings):
    """The ids, the detections that the first stand for, and the stuff labels of those that follow."""
    order = confident_first(scores, score_threshold)
    ids, kept, stuff = merge_fpn(semantic, map(place, order), labels=int(semantic.max()) + 1, **settings)
    return ids, np.array(order)[kept.numpy()].tolist(), stuff.nonzero().flatten().tolist()


def random_detections(count, size):
    """Boxes of all sizes, some beyond the image, some without an area; saturated, blurred and random masks."""
    corners = torch.rand(count, 4) * 1.4 - 0.2
    boxes = torch.cat((torch.minimum(corners[:, :2], corners[:, 2:]), torch.maximum(corners[:, :2], corners[:, 2:])), 1)
    boxes = boxes * torch.tensor([size[1], size[0], size[1], size[0]])
    boxes[0], boxes[1], boxes[2] = torch.tensor([3.0, 4.0, 3.0, 9.0]), torch.tensor([-9.0, -9.0, -2.0, -2.0]), 4.0
    boxes[3] = torch.tensor([2.5, 3.5, 7.5, 8.5])  # edges in the middle of pixels
    masks = torch.rand(count, 28, 28)
    masks[::3] = 1.0
    masks[1::3] = torch.nn.functional.avg_pool2d(masks[1::3], 5, 1, 2).mul(1.2).clamp(max=1)
    return Detections(boxes, torch.rand(count), torch.randint(0, 2, (count,)), masks)


def test_reference_merging(parts_case):
    config = json.loads((parts_case / "fpn_merge.json").read_text())
    arrays = np.load(parts_case / "fpn_merge.npz")
    for case, expected in enumerate(config["segments_info"]):
        ids, detections, stuff = merge(
            torch.from_numpy(arrays[f"semantic_{case}"]).long(),
            whole(torch.from_numpy(arrays[f"masks_{case}"])),
            torch.from_numpy(arrays[f"scores_{case}"]),
            overlap=config["overlap_threshold"],
            stuff_area=config["stuff_area_limit"],
            score_threshold=config["instances_score_threshold"],
        )
        np.testing.assert_array_equal(ids.numpy(), arrays[f"panoptic_{case}"])
        things = [segment for segment in expected if segment["isthing"]]
        assert detections == [segment["instance_id"] for segment in things]
        assert [arrays[f"labels_{case}"][i] for i in detections] == [segment["category_id"] for segment in things]
        assert stuff == [segment["category_id"] for segment in expected if not segment["isthing"]]


def test_better_instances_cover_worse_ones():
    masks = torch.zeros(4, 1, 8, dtype=torch.bool)
    masks[0, 0, 0:4] = True
    masks[1, 0, 2:6] = True  # half hidden: stays
    masks[2, 0, 4:8] = True  # half hidden by the second
    masks[3, 0, 3:6] = True  # hidden
    instances = [whole(masks)(index) for index in range(4)]
    ids, kept = stack_instances(instances, (1, 8), overlap=0.5, device=masks.device)
    assert ids.tolist() == [[1, 1, 1, 1, 2, 2, 3, 3]]
    assert kept.tolist() == [True, True, True, False]
    ids, kept = stack_instances(instances, (1, 8), overlap=0.4, device=masks.device)
    assert ids.tolist() == [[1, 1, 1, 1, 2, 2, 2, 2]]
    assert kept.tolist() == [True, False, True, False]


def test_stuff_fills_what_instances_leave():
    semantic = torch.tensor([[0, 0, 1, 1, 1, 3]])
    masks = torch.tensor([[[False, False, True, False, False, False]], [[False] * 6], [[False] * 5 + [True]]])
    ids, detections, stuff = merge(
        semantic, whole(masks), torch.tensor([0.9, 0.8, 0.4]), overlap=0.5, stuff_area=2, score_threshold=0.5
    )
    assert ids.tolist() == [[0, 0, 1, 2, 2, 0]]  # things without an instance and small stuff are void
    assert detections == [0] and stuff == [1]


@pytest.mark.parametrize(
    ("input_size", "output_size"), [((60, 90), (60, 90)), ((60, 90), (41, 77)), ((32, 48), (64, 96))]
)
def test_masks_in_windows_give_what_whole_masks_do(input_size, output_size):
    torch.manual_seed(0)
    found = random_detections(40, input_size)
    height, width = (length / own for length, own in zip(output_size, input_size, strict=True))
    boxes = found.boxes * torch.tensor([width, height, width, height])
    masks = paste_masks(found.masks, boxes, output_size) >= 0.5
    place = placement(found.masks, found.boxes, input_size, output_size)
    for index, mask in enumerate(masks):
        window, part = place(index)
        drawn = torch.zeros_like(mask)
        drawn[window] = part
        assert torch.equal(drawn, mask)
    settings = {"overlap": 0.5, "stuff_area": 9, "score_threshold": 0.2}
    semantic = torch.randint(0, 3, output_size)
    ids, kept, stuff = merge(semantic, place, found.scores, **settings)
    expected = merge(semantic, whole(masks), found.scores, **settings)
    assert torch.equal(ids, expected[0]) and (kept, stuff) == expected[1:]
    assert 1 < len(kept) < 40


def test_memory_does_not_grow_with_the_number_of_detections():
    memory, size = PeakMemory(torch.device("cpu")), (1000, 1500)
    if memory.bytes() is None:
        pytest.skip("only Linux tells the peak of a process")
    boxes = torch.rand(100, 2).mul(900).repeat(1, 2) + torch.tensor([0.0, 0.0, 90.0, 90.0])
    place = placement(torch.rand(100, 28, 28), boxes, size, size)
    memory = PeakMemory(torch.device("cpu"))
    merge(torch.zeros(size, dtype=torch.int64), place, torch.rand(100), overlap=1.0, stuff_area=1, score_threshold=0.0)
    assert memory.bytes() < 100 * 1000 * 1500 / 2  # whole masks take a byte a pixel, four before they are binary


@pytest.mark.parametrize("size", [(32, 48), (20, 30)])
def test_result_of_a_perfect_prediction(size):
    """One box on two halves of stuff, the padding (a third of the input) cut away."""
    logits = torch.zeros(3, 12, 12)
    logits[1, :, :6], logits[2, :, 6:] = 9.0, 9.0
    logits[0, 2:6, 2:6] = 20.0
    found = Detections(
        torch.tensor([[8.0, 8.0, 24.0, 24.0], [0.0, 0.0, 9.0, 9.0]]),
        torch.tensor([0.8, 0.1]),
        torch.tensor([1, 0]),
        torch.full((2, 28, 28), 0.9),
    )
    config = Config(fpn=FPNConfig(), merge=MergeConfig(stuff_area=0.01))
    result = fpn_panoptic(logits, found, (32, 48), size, (2, 5), (0, 7), config)
    thing, left, right = result.panoptic.segments
    assert (thing.category, left.category, right.category) == (5, 0, 7)
    assert thing.score == pytest.approx(0.8)
    assert 0.97 < left.score < 1 and 0.97 < right.score < 1
    scale = size[0] / 32
    assert thing.area == pytest.approx((16 * scale) ** 2)
    assert [(result.panoptic.ids == s.id).sum() for s in result.panoptic.segments] == [
        thing.area,
        left.area,
        right.area,
    ]
    y, x = int(16 * scale), int(12 * scale)
    assert result.panoptic.ids[y, x] == thing.id and result.semantic[y, x] == 5
    merged = result.panoptic.ids > 0
    np.testing.assert_array_equal(result.semantic[merged], result.panoptic.semantic()[merged])


def test_class_map_has_stuff_where_the_panoptic_map_is_void():
    logits = torch.zeros(3, 8, 8)
    logits[0], logits[2] = 9.0, 1.0
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long), torch.zeros(0, 28, 28))
    result = fpn_panoptic(logits, nothing, (32, 32), (32, 32), (2, 5), (0, 7), Config())
    assert result.panoptic.segments == () and (result.semantic == 7).all()
    result = fpn_panoptic(logits[:1], nothing, (32, 32), (32, 32), (0, 1), (), Config())
    assert (result.semantic == IGNORE_INDEX).all()


def test_class_map_of_many_classes():
    logits = torch.zeros(301, 8, 8)
    logits[300] = 9.0
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long), torch.zeros(0, 28, 28))
    result = fpn_panoptic(
        logits, nothing, (32, 32), (32, 32), (), range(300), Config(merge=MergeConfig(stuff_area=0.9))
    )
    assert (result.semantic == 299).all() and result.panoptic.segments[0].category == 299
    hidden = Config(merge=MergeConfig(stuff_area=0.99))
    logits[300, :4] = 0
    assert (fpn_panoptic(logits, nothing, (32, 32), (32, 32), (), range(300), hidden).semantic[20:] == 299).all()
