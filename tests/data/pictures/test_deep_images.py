import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from pisr_core.data.pictures.deep_images import rounded_range
from pisr_core.data.pictures.image_tensors import pillow_to_tensor, read_image
from pisr_core.data.pictures.images import image_size
from pisr_core.errors import DataError

TWELVE_BITS = (0.0, 4095.0)
VALUES = np.array([[[0, 819, 1638], [2457, 3276, 4095]]], np.uint16)  # fifths of 4095, RGB
EXPECTED = [[[0, 153]], [[51, 204]], [[102, 255]]]


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.ppm"])
@pytest.mark.parametrize("alpha", [False, True])
def test_colours_keep_their_bits(tmp_path, name, alpha):
    if alpha and name == "a.ppm":
        pytest.skip("has no alpha")
    stored = np.dstack([VALUES[..., ::-1], np.full((1, 2, 1), 65535, np.uint16)]) if alpha else VALUES[..., ::-1]
    cv2.imwrite(str(tmp_path / name), stored)  # takes BGR
    assert read_image(tmp_path / name, value_range=TWELVE_BITS).tolist() == EXPECTED


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("a.png", np.uint16), ("a.tiff", np.uint16), ("a.tiff", np.int32), ("a.tiff", np.float32), ("a.tiff", np.float64)],
)
def test_grey_values_in_their_range(tmp_path, name, dtype):
    cv2.imwrite(str(tmp_path / name), VALUES[0].astype(dtype))
    assert image_size(tmp_path / name) == (2, 3)
    expected = torch.tensor([[0, 51, 102], [153, 204, 255]])
    assert (read_image(tmp_path / name, value_range=TWELVE_BITS) == expected).all()
    cut = read_image(tmp_path / name, value_range=(1638.0, 2457.0))
    assert cut[0].tolist() == [[0, 0, 0], [255, 255, 255]]


def test_without_a_range_the_images_own_bits_count(tmp_path):
    Image.fromarray(VALUES[0]).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[1].tolist() == [[0, 51, 102], [153, 204, 255]]
    assert pillow_to_tensor(Image.open(tmp_path / "a.png"))[1].tolist() == [[0, 51, 102], [153, 204, 255]]


def test_what_was_not_measured_is_black(tmp_path):
    cv2.imwrite(str(tmp_path / "a.tiff"), np.array([[0.5, np.nan, np.inf, -np.inf]], np.float32))
    assert read_image(tmp_path / "a.tiff", value_range=(0.0, 1.0))[0].tolist() == [[128, 0, 255, 0]]


def test_deep_images_are_turned_as_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(VALUES[0]).save(tmp_path / "a.png", exif=exif)
    upright = torch.tensor([[153, 0], [204, 51], [255, 102]])
    assert (read_image(tmp_path / "a.png", (3, 2), TWELVE_BITS) == upright).all()
    assert read_image(tmp_path / "a.png", (2, 3), TWELVE_BITS).shape == (3, 2, 3)


def test_deep_colours_that_are_cut_off(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 4096, (40, 40, 3)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="a.png: cannot be read as an image"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("low", "high", "whole", "expected"),
    [
        (60, 3399, True, (0, 4095)),
        (0, 65_000, True, (0, 65_535)),
        (0, 200, True, (0, 255)),
        (0, 0, True, (0, 1)),
        (28_000, 31_000, True, (28_000, 31_000)),
        (-1024, 3071, True, (-1024, 3071)),
        (0.0, 0.97, False, (0, 1)),
        (0.01, 0.2, False, (0, 0.2)),
        (0.0, 12.5, False, (0, 12.5)),
        (-0.5, 0.2, False, (-0.5, 0.2)),
        (-2.0, -2.0, False, (-2, -1)),
        (3000, 3000, True, (0, 4095)),
    ],
)
def test_ranges(low, high, whole, expected):
    assert rounded_range(float(low), float(high), whole) == expected
