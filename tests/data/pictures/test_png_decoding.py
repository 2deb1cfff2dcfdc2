import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from pisr_core.data.pictures.png_decoding import decode_rgb


def png(pixels, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


PIXELS = np.random.default_rng(0).integers(0, 256, (37, 53, 3)).astype(np.uint8)


@pytest.mark.parametrize("pixels", [PIXELS, np.zeros((64, 64, 3), np.uint8), PIXELS[:1, :1], PIXELS.repeat(9, 0)])
@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"compress_level": 0}])
def test_pixels_are_those_of_pillow(pixels, options):
    assert (decode_rgb(png(pixels, **options)) == pixels).all()


def test_text_gamma_and_a_transparent_colour_change_nothing():
    info = PngImagePlugin.PngInfo()
    info.add_text("made by", "hand")
    info.add(b"gAMA", (45455).to_bytes(4, "big"))
    pixels = decode_rgb(png(PIXELS, pnginfo=info, transparency=tuple(PIXELS[0, 0].tolist())))
    assert pixels is None or (pixels == PIXELS).all()


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "LA", "I;16", "1"])
def test_other_kinds_are_left_to_pillow(mode):
    file = io.BytesIO()
    Image.new(mode, (4, 4)).save(file, "PNG")
    assert decode_rgb(file.getvalue()) is None


def test_broken_files_are_left_to_pillow():
    data = png(PIXELS)
    assert all(decode_rgb(data[:length]) is None for length in range(0, len(data), 97))
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 1
    assert decode_rgb(bytes(flipped)) is None


def test_a_size_that_no_memory_holds_is_left_to_pillow():
    data = bytearray(png(PIXELS))
    data[16:24] = (2**30).to_bytes(4, "big") * 2
    assert decode_rgb(bytes(data)) is None
