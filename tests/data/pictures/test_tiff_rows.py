import io

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from pisr_core.data.pictures.images import read_pixels
from pisr_core.data.pictures.tiff_rows import TiffRows
from pisr_core.errors import DataError

SIZE = (70, 90)


def pixels():
    ramp = np.linspace(0, 255, SIZE[0] * SIZE[1] * 3).reshape(*SIZE, 3)
    return (ramp + np.random.default_rng(0).integers(0, 9, ramp.shape)).clip(0, 255).astype(np.uint8)


def tiled_tiff(image, side=32, big=False, order="<"):
    """An uncompressed TIFF of tiles, the last ones padded with 7."""
    rows, columns = -(-image.shape[0] // side), -(-image.shape[1] // side)
    padded = np.full((rows * side, columns * side, *image.shape[2:]), 7, image.dtype)
    padded[: image.shape[0], : image.shape[1]] = image
    tiles = [
        padded[y * side : (y + 1) * side, x * side : (x + 1) * side].astype(image.dtype.newbyteorder(order)).tobytes()
        for y in range(rows)
        for x in range(columns)
    ]
    tags = ImageFileDirectory_v2(prefix=b"II" if order == "<" else b"MM")
    channels = image.shape[2] if image.ndim == 3 else 1
    values = {256: image.shape[1], 257: image.shape[0], 258: (8 * image.itemsize,) * channels, 259: 1}
    values |= {262: 2 if channels == 3 else 1, 277: channels, 322: side, 323: side}
    values |= {324: tuple(range(len(tiles))), 325: tuple(map(len, tiles))}
    for tag, value in values.items():
        tags.tagtype[tag] = 4 if tag >= 322 else 3
        tags[tag] = value
    start = 8 + len(tags.tobytes(8))
    tags[324] = tuple(start + number * len(tiles[0]) for number in range(len(tiles)))
    file = io.BytesIO()
    tags.save(file)
    return file.getvalue() + b"".join(tiles)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits"])
def test_strips_of_any_compression_give_what_the_whole_gives(tmp_path, monkeypatch, compression):
    monkeypatch.setattr(TiffImagePlugin, "WRITE_LIBTIFF", True)  # before Pillow 11 it alone writes several raw strips
    path = tmp_path / "a.tif"
    Image.fromarray(pixels()).save(path, compression=compression, tiffinfo={278: 16})
    whole, rows = read_pixels(path), TiffRows(path)
    assert rows.size == SIZE and (rows.rows(0, 70) == whole).all()
    assert (rows.rows(13, 50) == whole[13:50]).all() and (rows.rows(69, 70) == whole[69:]).all()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("grey", [False, True])
def test_tiles_are_put_together(tmp_path, order, dtype, grey):
    path = tmp_path / "a.tif"
    image = pixels().astype(dtype) * (16 if dtype is np.uint16 else 1)
    image = image[..., 0] if grey else image
    path.write_bytes(tiled_tiff(image, order=order))
    value_range = (0.0, 4095.0) if dtype is np.uint16 else ()
    found = TiffRows(path, value_range).rows(20, 70)
    assert (found == read_pixels(path, value_range=value_range)[20:]).all()


def test_what_is_no_such_file_is_refused(tmp_path):
    Image.fromarray(pixels()).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="no TIFF"):
        TiffRows(tmp_path / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels()).save(tmp_path / "turned.tif", exif=exif)
    with pytest.raises(ValueError, match="turned"):
        TiffRows(tmp_path / "turned.tif")
    path = tmp_path / "deep.tif"
    path.write_bytes(tiled_tiff(pixels().astype(np.uint16)))
    with pytest.raises(DataError, match="data.value_range"):
        TiffRows(path).rows(0, 9)


def test_a_damaged_piece_is_named(tmp_path):
    path = tmp_path / "a.tif"
    content = tiled_tiff(pixels())
    path.write_bytes(content[:-5000])
    rows = TiffRows(path)
    assert (rows.rows(0, 32) == pixels()[:32]).all()
    with pytest.raises(DataError, match="a.tif: cannot be read"):
        rows.rows(60, 70)
