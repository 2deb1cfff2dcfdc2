import numpy as np
import pytest
import torch
from PIL import Image

from pisr_core.data.images import read_image
from pisr_core.errors import DataError

ROTATED = 6  # EXIF: stored lying on its side


def save_rotated(path, width=4, height=2):
    pixels = np.arange(height * width * 3, dtype=np.uint8).reshape(height, width, 3)
    exif = Image.Exif()
    exif[0x0112] = ROTATED
    Image.fromarray(pixels).save(path, exif=exif)
    return torch.from_numpy(pixels).permute(2, 0, 1)


@pytest.mark.parametrize("mode, color", [("L", 7), ("P", 0), ("RGBA", (1, 2, 3, 0)), ("LA", (9, 255)), ("1", 1)])
def test_every_mode_becomes_rgb(tmp_path, mode, color):
    image = Image.new(mode, (5, 3), color)
    image.save(tmp_path / "a.png")
    expected = image.convert("RGB").getpixel((0, 0))
    pixels = read_image(tmp_path / "a.png")
    assert pixels.shape == (3, 3, 5) and pixels[:, 0, 0].tolist() == list(expected)


def test_cmyk(tmp_path):
    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a.jpg")
    assert (read_image(tmp_path / "a.jpg") >= 253).all()


def test_16_bit_greyscale_is_scaled_not_clipped(tmp_path):
    Image.fromarray(np.array([[0, 128 * 256, 65535]], dtype=np.uint16)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").tolist() == [[[0, 128, 255]]] * 3


def test_exif_orientation_is_applied(tmp_path):
    stored = save_rotated(tmp_path / "a.png")
    expected = torch.rot90(stored, -1, dims=(1, 2))
    assert (read_image(tmp_path / "a.png") == expected).all()
    assert (read_image(tmp_path / "a.png", annotated_size=(4, 2)) == expected).all()


def test_an_annotation_of_the_stored_image_wins(tmp_path):
    stored = save_rotated(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png", annotated_size=(2, 4)) == stored).all()


def test_another_size_than_the_annotation(tmp_path):
    Image.new("RGB", (5, 3)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="a.png: the image has 3×5 pixels, its annotation 3×6"):
        read_image(tmp_path / "a.png", annotated_size=(3, 6))


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff\xe0"])
def test_broken_images(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(DataError, match="a.jpg: cannot be read as an image"):
        read_image(tmp_path / "a.jpg")


def test_truncated_image(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="a.jpg: cannot be read as an image"):
        read_image(tmp_path / "a.jpg")


def test_missing_image(tmp_path):
    with pytest.raises(DataError, match="no such image"):
        read_image(tmp_path / "a.jpg")


def test_floating_point_image(tmp_path):
    Image.fromarray(np.zeros((2, 2), dtype=np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(DataError, match="no known range"):
        read_image(tmp_path / "a.tiff")
