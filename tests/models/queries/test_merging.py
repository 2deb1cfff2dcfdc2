import json

import numpy as np
import pytest
import torch

from pisr_core.models.queries.merging import MergingRule, mask_panoptic, merge_masks, semantic_inference
from pisr_core.models.resizing import output_bands

CAR, SKY, NOTHING = 0, 1, 2


def logits(classes: list[int], margin: float = 10.0) -> torch.Tensor:
    return margin * torch.nn.functional.one_hot(torch.tensor(classes), 3).float()


def columns(*spans: tuple[int, int], value: float = 10.0) -> torch.Tensor:
    """Masks of an image of 4 rows and 10 columns, each covering some columns."""
    masks = torch.full((len(spans), 4, 10), -value)
    for mask, (first, last) in zip(masks, spans, strict=True):
        mask[:, first:last] = value
    return masks


def merge(class_logits, mask_logits):
    return merge_masks(class_logits, mask_logits, (CAR,), MergingRule(0.7, 0.8))


def test_reference_maps(parts_case):
    case = json.loads((parts_case / "mask_merge.json").read_text())
    arrays = dict(np.load(parts_case / "mask_merge.npz"))
    for index, segments in enumerate(case["segments_info"]):
        result = merge_masks(
            torch.from_numpy(arrays[f"class_logits_{index}"]),
            torch.from_numpy(arrays[f"mask_logits_{index}"]).float(),
            tuple(case["thing_ids"]),
            MergingRule(case["object_mask_threshold"], case["overlap_threshold"]),
        )
        np.testing.assert_array_equal(result.ids, arrays[f"panoptic_{index}"])
        assert [(s.id, s.category) for s in result.segments] == [(s["id"], s["category_id"]) for s in segments]
        assert [s.area for s in result.segments] == [(result.ids == s.id).sum() for s in result.segments]


def test_things_stay_apart_and_stuff_is_joined():
    result = merge(logits([SKY, CAR, SKY, CAR]), columns((0, 2), (2, 5), (5, 6), (6, 10)))
    assert result.ids[0].tolist() == [1, 1, 2, 2, 2, 1, 3, 3, 3, 3]
    assert [(s.id, s.category, s.area) for s in result.segments] == [(1, SKY, 12), (2, CAR, 12), (3, CAR, 16)]
    assert result.segments[0].score == pytest.approx(1 / (1 + 2 * np.exp(-10)))


def test_ids_that_last_are_those_of_queries_and_of_stuff_classes():
    rule = MergingRule(0.7, 0.8, first_thing_id=3)
    masks = columns((0, 2), (2, 5), (5, 6), (0, 10), (6, 10))
    result = merge_masks(logits([SKY, CAR, SKY, NOTHING, CAR]), masks, (CAR,), rule)
    assert result.ids[0].tolist() == [2, 2, 4, 4, 4, 2, 7, 7, 7, 7]
    assert [(s.id, s.category, s.area) for s in result.segments] == [(2, SKY, 12), (4, CAR, 12), (7, CAR, 16)]


def test_queries_that_are_unsure_empty_or_hidden_give_nothing():
    # The second car is sure of columns 0–9 but wins only 6–9; the third claims no pixel; nothing and a doubtful car.
    class_logits = torch.cat(
        (logits([CAR]) + torch.tensor([[5.0, 0, 0]]), logits([CAR, CAR, NOTHING]), logits([CAR], 1))
    )
    result = merge(class_logits, columns((0, 6), (0, 10), (0, 0), (0, 10), (0, 10)))
    assert result.ids[0].tolist() == [1] * 6 + [0] * 4
    assert len(result.segments) == 1
    empty = merge(logits([NOTHING]), columns((0, 10)))
    assert empty.segments == () and not empty.ids.any() and empty.ids.dtype == np.int32


def test_a_share_that_equals_the_threshold_stays():
    class_logits = logits([CAR, CAR]) + torch.tensor([[5.0, 0, 0], [0, 0, 0]])
    result = merge(class_logits, columns((0, 2), (0, 10)))
    assert [s.area for s in result.segments] == [8, 32]


def test_semantic_inference_by_hand():
    class_logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]]))
    mask_logits = torch.logit(torch.tensor([[[0.5, 1.0]], [[0.25, 0.5]]]), eps=1e-7)
    expected = torch.tensor([[[0.275, 0.55]], [[0.325, 0.65]]])
    torch.testing.assert_close(semantic_inference(class_logits, mask_logits), expected, atol=1e-5, rtol=1e-5)


def test_padding_is_cropped_and_the_result_resized():
    mask_logits = torch.full((1, 1, 16, 16), 10.0)
    mask_logits[..., 12:] = -10.0  # right of pixel 48
    bands = (band.sigmoid() for band in output_bands(mask_logits[0], (64, 40), (128, 80)))
    result = mask_panoptic(logits([CAR]), bands, (CAR,), MergingRule(0.8, 0.8))
    assert result.panoptic.ids.shape == result.semantic.shape == (128, 80)
    assert (result.panoptic.ids == 1).all() and (result.semantic == CAR).all()
    assert result.panoptic.segments[0].area == 128 * 80


def test_classes_beyond_8_bits():
    class_logits = 10 * torch.nn.functional.one_hot(torch.tensor([299]), 301).float()
    result = mask_panoptic(class_logits, [torch.ones(1, 32, 32)], (), MergingRule(0.8, 0.8))
    assert (result.semantic == 299).all() and result.panoptic.segments[0].category == 299
