import logging

import numpy as np
import pytest
from PIL import Image

from pisr_core.config import DataConfig
from pisr_core.data import build_dataset, settled
from pisr_core.data.checking.check import check_data
from pisr_core.data.checking.reading.splits import find_splits
from pisr_core.data.pictures.value_range import find_value_range
from pisr_core.errors import ConfigError


def save_deep(path, highest, hot_pixels=0):
    """Values from 0 to `highest`, in 16 bits."""
    pixels = np.linspace(0, highest, 24 * 32).round().astype(np.uint16).reshape(24, 32)
    pixels.ravel()[:hot_pixels] = 65_535
    Image.fromarray(pixels).save(path)


@pytest.fixture
def deep_root(custom_root):
    """Both splits have 12 bits in 16; the darkest image uses 6 of them."""
    for split in ("train", "val"):
        for number, path in enumerate(sorted((custom_root / split).iterdir())):
            save_deep(path, 50 if number == 0 else 4000)
    return custom_root


def test_the_range_is_found_said_once_and_kept(deep_root, caplog):
    with caplog.at_level(logging.INFO):
        train_set = build_dataset(DataConfig(), "train", deep_root)
        config = settled(DataConfig(), train_set)
        val_set = build_dataset(config, "val", deep_root)
    assert config.value_range == val_set.value_range == (0.0, 4095.0)
    assert caplog.text.count("values from 0 to 4095 become 0 to 255, as 5 of 5 images show") == 1
    assert train_set[1].image.max() == round(4000 * 255 / 4095) and train_set[0].image.max() == 3
    assert val_set[1].image.max() == 249


def test_the_range_that_is_set_is_used(deep_root, caplog):
    with caplog.at_level(logging.INFO):
        dataset = build_dataset(DataConfig(value_range=(0.0, 8000.0)), "train", deep_root)
    assert dataset[1].image.max() == 128 and caplog.text == ""


@pytest.mark.parametrize("value_range", [(1.0,), (2.0, 1.0), (0.0, 1.0, 2.0)])
def test_what_is_no_range(value_range):
    with pytest.raises(ConfigError, match="data.value_range"):
        DataConfig(value_range=value_range)


def test_images_of_8_bits_need_none(custom_root, caplog):
    with caplog.at_level(logging.INFO):
        dataset = build_dataset(DataConfig(), "train", custom_root)
    assert dataset.value_range == () and settled(DataConfig(), dataset) == DataConfig() and caplog.text == ""


def test_a_few_hot_pixels_do_not_count(tmp_path):
    pixels = np.linspace(0, 4000, 200 * 200).round().astype(np.uint16).reshape(200, 200)
    pixels[0, :3] = 65_535
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert find_value_range([tmp_path / "a.png", tmp_path / "missing.png"]) == (0.0, 4095.0)


def test_data_check_suggests_the_range(deep_root):
    report = check_data(find_splits(deep_root, names=["train"]))
    assert report.errors == 0
    assert [s.value for s in report.settings if s.key == "data.value_range"] == [[0.0, 4095.0]]
