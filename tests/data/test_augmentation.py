import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transform

from pisr_core.config import DataConfig
from pisr_core.data.augmentation import (
    MEAN_COLOR,
    Augmentation,
    evaluation_size,
    nearest_window,
    pad,
    present_segments,
    resize_for_eval,
    resized_size,
    scaled_window,
)
from pisr_core.errors import DataError
from pisr_core.structures import VOID_ID, PanopticSegmentation, Sample, Segment


def sample(height=40, width=60):
    """Four quadrants; the red channel of a pixel is ten times its segment's id, the rest is its place."""
    ids = np.ones((height, width), dtype=np.int32)
    ids[:, width // 2 :] += 1
    ids[height // 2 :] += 2
    y, x = np.mgrid[:height, :width]
    image = torch.from_numpy(np.stack([ids * 10, y, x]).astype(np.uint8))
    segments = tuple(Segment(i, 0, ids.size // 4) for i in range(1, 5))
    return Sample(image, PanopticSegmentation(ids, segments), 1, "a.jpg")


def config(**settings):
    return DataConfig(**{"crop": (32, 32), "flip": 0.0} | settings)


def test_same_seed_same_view_and_the_generator_is_left_alone():
    augmentation = Augmentation(config(flip=0.5, color=0.4, scale=(0.5, 2.0), short_side=(30, 50)))
    state = torch.get_rng_state()
    first, again, other = (augmentation(sample(), seed) for seed in (7, 7, 8))
    assert (torch.get_rng_state() == state).all()
    assert (first.image == again.image).all() and (first.panoptic.ids == again.panoptic.ids).all()
    assert not (first.image == other.image).all()


def test_image_and_annotation_stay_together():
    augmentation = Augmentation(config(flip=0.5))
    for seed in range(20):
        view = augmentation(sample(), seed)
        assert view.image.shape == (3, 32, 32)
        assert (view.image[0].numpy() == view.panoptic.ids * 10).all()


def test_scaling_keeps_them_aligned_to_a_pixel():
    view = Augmentation(config(crop=(80, 120), scale=(2.0, 2.0)))(sample(), 0)
    assert (view.panoptic.ids == np.kron(sample().panoptic.ids, np.ones((2, 2)))).all()


def test_large_ids_survive_scaling():
    ids = np.full((20, 20), 2**24 - 1, dtype=np.int32)
    panoptic = PanopticSegmentation(ids, (Segment(2**24 - 1, 0, 400),))
    large = Sample(torch.zeros(3, 20, 20, dtype=torch.uint8), panoptic, 1, "a.jpg")
    assert (Augmentation(config(scale=(1.7, 1.7)))(large, 0).panoptic.ids == 2**24 - 1).all()


def test_areas_are_counted_and_lost_segments_disappear():
    augmentation = Augmentation(config(crop=(16, 16)))
    numbers = set()
    for seed in range(20):
        panoptic = augmentation(sample(), seed).panoptic
        assert sum(segment.area for segment in panoptic.segments) == 16 * 16
        assert all(segment.area == (panoptic.ids == segment.id).sum() > 0 for segment in panoptic.segments)
        numbers.add(len(panoptic.segments))
    assert min(numbers) < 4 and max(numbers) > 1


def test_padding_is_mean_colour_and_void():
    view = Augmentation(config(crop=(48, 64), color=0.5))(sample(), 0)
    assert (view.panoptic.ids[40:] == VOID_ID).all() and (view.panoptic.ids[:, 60:] == VOID_ID).all()
    assert view.image[:, 45, 62].tolist() == list(MEAN_COLOR)
    assert (view.panoptic.ids[:40, :60] == sample().panoptic.ids).all()


def test_flip_always():
    view = Augmentation(config(crop=(40, 60), flip=1.0))(sample(), 0)
    assert (view.image == sample().image.flip(-1)).all()
    assert (view.panoptic.ids == sample().panoptic.ids[:, ::-1]).all()


def test_colour_jitter_leaves_the_annotation():
    view = Augmentation(config(crop=(40, 60), color=0.5))(sample(), 0)
    assert not (view.image == sample().image).all()
    assert (view.panoptic.ids == sample().panoptic.ids).all()


def test_short_side_is_one_of_the_choices():
    augmentation = Augmentation(config(crop=(200, 200), short_side=(20, 60), max_long_side=60))
    heights = {int((augmentation(sample(), seed).panoptic.ids != VOID_ID).any(axis=1).sum()) for seed in range(12)}
    assert heights == {20, 40}  # a short side of 60 would make the long side 90


def test_samples_without_annotation_are_refused():
    with pytest.raises(DataError, match="a.jpg: has no annotation"):
        Augmentation(config())(Sample(sample().image, None, 1, "a.jpg"), 0)


@pytest.mark.parametrize(
    "size, short, long, expected",
    [
        ((480, 640), 0, 0, (480, 640)),
        ((480, 640), 240, 0, (240, 320)),
        ((640, 480), 800, 1333, (1067, 800)),
        ((100, 400), 800, 1333, (333, 1333)),
        ((480, 640), 0, 320, (240, 320)),
        ((1, 4000), 0, 100, (1, 100)),
    ],
)
def test_resized_size_by_hand(size, short, long, expected):
    assert resized_size(size, short, long) == expected


def test_evaluation_image():
    settings = config(eval_short_side=20, eval_max_long_side=24)
    assert evaluation_size((40, 60), settings) == (16, 24)
    assert resize_for_eval(sample().image, settings).shape == (3, 16, 24)
    assert (resize_for_eval(sample().image, config()) == sample().image).all()


def test_pad():
    padded = pad(torch.zeros(3, 1, 2, dtype=torch.uint8), (2, 2))
    assert padded.permute(1, 2, 0).tolist() == [[[0] * 3] * 2, [list(MEAN_COLOR)] * 2]


def test_present_segments():
    ids = np.array([[0, 3], [3, 0]], dtype=np.int32)
    assert present_segments(ids, (Segment(3, 1, 9), Segment(4, 0, 9))) == (Segment(3, 1, 2),)


# (H, W) before and after scaling: by a ratio of small numbers, by one of large ones, not at all; smaller and larger.
SCALINGS = [((64, 128), (40, 80)), ((64, 96), (120, 180)), ((37, 61), (53, 88)), ((61, 37), (20, 12)), ((40, 60),) * 2]


@pytest.mark.parametrize(("size", "scaled"), SCALINGS)
def test_a_window_has_the_pixels_that_scaling_the_whole_image_gives(size, scaled):
    image = torch.randint(256, (*size, 3), dtype=torch.uint8).permute(2, 0, 1)
    ids = torch.randint(2**24, size, dtype=torch.int32)
    whole = transform.resize(image, list(scaled), antialias=True)
    whole_ids = transform.resize(ids[None], list(scaled), InterpolationMode.NEAREST_EXACT)[0]
    for top, left, height, width in [(0, 0, *scaled), (3, 5, 4, 2), (scaled[0] - 3, scaled[1] - 7, 3, 7)]:
        window = [slice(top, top + height), slice(left, left + width)]
        assert torch.equal(scaled_window(image, scaled, window), whole[:, *window])
        assert torch.equal(nearest_window(ids, scaled, window), whole_ids[*window])


def test_only_what_a_window_needs_is_scaled(monkeypatch):
    seen = []
    resize = transform.resize
    monkeypatch.setattr(
        transform, "resize", lambda image, *given, **named: seen.append(image) or resize(image, *given, **named)
    )
    scaled_window(torch.zeros(3, 1024, 2048, dtype=torch.uint8), (2048, 4096), [slice(500, 600), slice(0, 200)])
    assert seen[0].shape[1] <= 60 and seen[0].shape[2] <= 110
