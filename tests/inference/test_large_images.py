import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from pisr_core.config import DataConfig
from pisr_core.data.coco.files import read_panoptic_json, read_segmentation, rgb_to_id
from pisr_core.errors import DeviceError
from pisr_core.inference import files as prediction_files
from pisr_core.inference import large_images
from pisr_core.inference import predict as prediction
from pisr_core.inference.large_images import NETWORK_PIXELS, bounded_size, enlarged, network_config
from pisr_core.inference.predict import predict
from pisr_core.structures import PanopticSegmentation, Segment

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("size", "pixels", "side", "expected"),
    [
        ((40, 60), 2400, None, (40, 60)),
        ((40, 60), 600, None, (20, 30)),
        ((40, 60), 2400, 30, (20, 30)),
        ((1, 1000), 100, None, (1, 100)),  # a side cannot fall below a pixel
        ((3, 70_000), 1 << 25, 65_000, (2, 65_000)),
    ],
)
def test_bounded_size(size, pixels, side, expected):
    height, width = bounded_size(size, pixels, side)
    assert (height, width) == expected and height * width <= pixels


@pytest.mark.parametrize(
    ("size", "config", "max_side", "long_side"),
    [
        ((4096, 4096), DataConfig(), None, 0),
        ((12_000, 12_000), DataConfig(), None, 4096),
        ((4000, 16_000), DataConfig(), None, 8192),
        ((12_000, 12_000), DataConfig(eval_short_side=640, eval_max_long_side=1000), None, 1000),
        ((12_000, 12_000), DataConfig(), 6000, 6000),
        ((12_000, 12_000), DataConfig(eval_max_long_side=1000), 6000, 1000),
        ((300, 200), DataConfig(), 100, 100),
    ],
)
def test_what_the_network_sees(caplog, size, config, max_side, long_side):
    found = network_config("photo.jpg", size, config, max_side)
    assert found == replace(config, eval_max_long_side=long_side)
    unasked = max_side is None and found != config
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * unasked
    if unasked:
        assert "photo.jpg: " in caplog.text and "--max-side" in caplog.text
        assert large_images.evaluation_size(size, found)[0] ** 2 <= NETWORK_PIXELS


def test_an_enlarged_map_keeps_its_segments_and_counts_their_areas():
    ids = np.array([[1, 1, 2], [0, 3, 2]], np.int32)
    segments = (Segment(1, 0, 2, score=0.5), Segment(2, 1, 2), Segment(3, 1, 1))
    found = enlarged(PanopticSegmentation(ids, segments), (4, 9))
    np.testing.assert_array_equal(found.ids, ids.repeat(2, 0).repeat(3, 1))
    assert found.segments == (Segment(1, 0, 12, score=0.5), Segment(2, 1, 12), Segment(3, 1, 6))
    same = PanopticSegmentation(ids, segments)
    assert enlarged(same, (2, 3)) is same


@pytest.fixture
def small_limits(monkeypatch):
    monkeypatch.setattr(large_images, "NETWORK_PIXELS", 48 * 64)
    monkeypatch.setattr(large_images, "MAP_PIXELS", 96 * 128)
    monkeypatch.setattr(prediction_files, "MAP_PIXELS", 96 * 128)
    monkeypatch.setattr(prediction, "WAITING_PIXELS", 100)


def test_images_beyond_the_limits_have_maps_at_their_own_size(tmp_path, tiny_model, small_limits, monkeypatch):
    seen, merged = [], []
    forward, panoptic = tiny_model.forward, tiny_model.panoptic
    monkeypatch.setattr(tiny_model, "forward", lambda images: seen.append(tuple(images.shape[2:])) or forward(images))
    monkeypatch.setattr(
        tiny_model, "panoptic", lambda output, inputs, sizes: merged.append(sizes[0]) or panoptic(output, inputs, sizes)
    )
    sizes = {"a.png": (192, 256), "b.png": (40, 60)}
    for name, size in sizes.items():
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)).save(tmp_path / name)
    out = tmp_path / "out"
    report = predict(tiny_model, [str(tmp_path / name) for name in sizes], out, CPU)
    assert not report.failed and len(report.written) == 2
    assert [height * width <= 64 * 64 for height, width in seen] == [True, True]
    assert merged == [(96, 128), (40, 60)]
    file = read_panoptic_json(out / "panoptic.json")
    for image, written in zip(file.images, report.written, strict=True):
        assert image.size == sizes[image.file_name]
        found = read_segmentation(out / "panoptic" / file.annotations[image.id].file_name, file.annotations[image.id])
        assert found.ids.shape == image.size
        with Image.open(written.overlay) as picture:
            assert (picture.height, picture.width) == ((96, 128) if image.file_name == "a.png" else (40, 60))
    with Image.open(out / "panoptic" / "a.png") as png:
        ids = rgb_to_id(np.asarray(png))
    np.testing.assert_array_equal(ids, ids[::2, ::2].repeat(2, 0).repeat(2, 1))


def test_a_picture_is_no_longer_than_jpeg_allows(tmp_path, tiny_model):
    Image.fromarray(np.zeros((8, 66_000, 3), np.uint8)).save(tmp_path / "long.png")
    report = predict(tiny_model, [str(tmp_path / "long.png")], tmp_path / "out", CPU, max_side=640)
    assert not report.failed
    with Image.open(report.written[0].overlay) as picture:
        assert picture.size == (65_000, 7)


def test_out_of_memory_names_the_image_and_the_cure(tmp_path, tiny_model, monkeypatch):
    def exhausted(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(tiny_model, "forward", exhausted)
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(DeviceError, match=r"out of memory.*a\.png at 48×64: give --max-side"):
        predict(tiny_model, [str(tmp_path / "a.png")], tmp_path / "out", CPU)
