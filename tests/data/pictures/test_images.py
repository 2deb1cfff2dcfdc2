import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from pisr_core.data.pictures import images
from pisr_core.data.pictures.image_tensors import read_image
from pisr_core.data.pictures.images import image_size
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


def save_png_header(path, width, height):
    """A PNG that claims a size and holds a few bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b""))


@pytest.mark.parametrize("read", [read_image, image_size])
def test_decompression_bombs_are_refused_by_their_header(tmp_path, read):
    save_png_header(tmp_path / "bomb.png", 20_000, 20_000)
    with pytest.raises(DataError, match="bomb.png: has more than 178 megapixels, the limit. Scale it down"):
        read(tmp_path / "bomb.png")


def test_the_stated_limit_is_the_one_that_holds(tmp_path):
    save_png_header(tmp_path / "a.png", 13_342, 13_341)  # 177.996 megapixels
    assert image_size(tmp_path / "a.png", upright=False) == (13_341, 13_342)


def test_text_that_unpacks_to_a_bomb(tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "a" * 70_000_000, zip=True)
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png", pnginfo=text)
    with pytest.raises(DataError, match="a.png: cannot be read as an image"):
        read_image(tmp_path / "a.png")


def test_the_content_decides_not_the_ending(tmp_path):
    Image.new("RGB", (5, 3), (10, 20, 30)).save(tmp_path / "a.bin", format="PNG")
    assert read_image(tmp_path / "a.bin")[:, 0, 0].tolist() == [10, 20, 30]


def test_one_pixel(tmp_path):
    Image.new("RGB", (1, 1), (10, 20, 30)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").tolist() == [[[10]], [[20]], [[30]]]


@pytest.mark.parametrize("ending", ["gif", "webp", "png", "tiff"])
def test_an_animation_is_its_first_frame(tmp_path, ending):
    frames = [Image.new("RGB", (6, 4), color) for color in ((255, 0, 0), (0, 0, 255))]
    frames[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=frames[1:], **{"lossless": True})
    assert read_image(tmp_path / f"a.{ending}")[:, 1, 2].tolist() == [255, 0, 0]


def test_empty_file(tmp_path):
    (tmp_path / "a.jpg").touch()
    with pytest.raises(DataError, match=r"a.jpg: cannot be read as an image: it is empty \(0 bytes\)"):
        read_image(tmp_path / "a.jpg")


def test_formats_that_start_other_programs_are_not_read(tmp_path):
    Image.new("RGB", (5, 3)).save(tmp_path / "a.png", format="EPS")
    with pytest.raises(DataError, match="it is of no known format"):
        read_image(tmp_path / "a.png")


def test_a_folder_is_no_image(tmp_path):
    with pytest.raises(DataError, match="cannot be read as an image"):
        read_image(tmp_path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_plain_files_are_decoded_faster_to_pillows_values(tmp_path, monkeypatch, name):
    rng = np.random.default_rng(0)
    smooth = np.asarray(Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize((70, 50)))
    Image.fromarray(smooth).save(tmp_path / name)
    expected = np.array(Image.open(tmp_path / name))
    monkeypatch.setattr(images, "_rgb", lambda image: pytest.fail("Pillow decoded it"))
    assert np.array_equal(read_image(tmp_path / name).permute(1, 2, 0), expected)


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_file_that_breaks_off_is_refused_by_all_decoders(tmp_path, name):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for left in (len(whole) // 2, len(whole) - 30):
        (tmp_path / name).write_bytes(whole[:left])
        with pytest.raises(DataError, match="cannot be read"):
            read_image(tmp_path / name)


def test_an_orientation_after_the_pixels_counts(tmp_path):
    pixels = save_rotated(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    begin = data.index(b"eXIf") - 4
    length = 12 + int.from_bytes(data[begin : begin + 4], "big")
    chunk, rest = data[begin : begin + length], data[:begin] + data[begin + length :]
    (tmp_path / "a.png").write_bytes(rest[:-12] + chunk + rest[-12:])
    assert torch.equal(read_image(tmp_path / "a.png"), pixels.rot90(-1, (1, 2)))
