"""What is looked at in the files of one image: its pixels, its PNG, and whether the JSON says the same."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, UnidentifiedImageError

from pisr_core.data.checking.findings import Finding, Kind
from pisr_core.data.checking.reading.entries import AnnotationEntry
from pisr_core.data.checking.segments import SegmentShapes, measure_segments
from pisr_core.data.checking.systematic import Reading
from pisr_core.data.coco.files import PNG_SIGNATURE, RGB, RGBA, check_png_header, read_panoptic_png
from pisr_core.data.pictures.images import TURNED, open_image, read_pixels
from pisr_core.data.pictures.pillow_errors import BROKEN_IMAGE_ERRORS
from pisr_core.errors import DataError
from pisr_core.structures import VOID_ID

BOX_TOLERANCE = 1
"""Pixels by which a listed box may be off, for some tools count the last row and column and some do not."""


@dataclass(frozen=True)
class Pair:
    """An image and its annotation.

    Attributes:
        split: the split's name.
        position: of the image in the JSON's list.
        image_path: the image.
        size: its (H, W) in the JSON.
        png_path: its panoptic PNG, if it is annotated.
        annotation: what the JSON says of the PNG.
        quick: read the headers only.
        reading: what the PNG's ids are, if not segment ids.
    """

    split: str
    position: int
    image_path: Path
    size: tuple[int, int]
    png_path: Path | None
    annotation: AnnotationEntry | None
    quick: bool = False
    reading: Reading | None = None


@dataclass(frozen=True)
class Inspection:
    """What was seen.

    Attributes:
        findings: the faults.
        digest: of the image's bytes, to find copies.
        image_size: (H, W) as stored, if the image can be read.
        shapes: the PNG's segments, if it can be read and has the size of the image or of the JSON.
    """

    findings: tuple[Finding, ...]
    digest: bytes | None = None
    image_size: tuple[int, int] | None = None
    shapes: SegmentShapes | None = None


def inspect_pair(pair: Pair) -> Inspection:
    """Reads an image and its PNG, and compares both with the JSON."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, on images that it reads all the same
        return _Inspector(pair).run()


class _Inspector:
    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.findings: list[Finding] = []

    def run(self) -> Inspection:
        digest, image_size = self._image()
        shapes = self._png() if self.pair.png_path is not None else None
        if shapes is not None and shapes.size not in (self.pair.size, image_size):
            shapes = None  # the PNG of another image: all its segments would be wrong
        if shapes is not None and self.pair.reading is not None:
            shapes = self._read_anew(shapes, self.pair.reading)
        if shapes is not None:
            self._segments(shapes)
        return Inspection(tuple(self.findings), digest, image_size, shapes)

    def _add(self, kind: Kind, path: Path, detail: str = "") -> None:
        annotation = self.pair.annotation
        of_png = path == self.pair.png_path and annotation is not None
        entry = ("annotations", annotation.position) if of_png and annotation else ("images", self.pair.position)
        self.findings.append(Finding(kind, self.pair.split, str(path), detail.removeprefix(f"{path}: "), entry))

    def _image(self) -> tuple[bytes | None, tuple[int, int] | None]:
        """Digest and stored size of the image, as far as it can be read."""
        path, quick = self.pair.image_path, self.pair.quick
        try:
            content = b"" if quick else path.read_bytes()
            if path.stat().st_size == 0:
                self._add(Kind.IMAGE_BROKEN, path, "is empty (0 bytes)")
                return None, None
            with open_image(path if quick else io.BytesIO(content)) as image:
                size = (image.height, image.width)
                orientation = self._orientation(image)
                if not quick:
                    _decode(image, path, orientation)
        except FileNotFoundError:
            self._add(Kind.IMAGE_MISSING, path)
            return None, None
        except UnidentifiedImageError:
            self._add(Kind.IMAGE_BROKEN, path, "is of no format that Pillow reads")
            return None, None
        except (DataError, *BROKEN_IMAGE_ERRORS) as error:
            self._add(Kind.IMAGE_BROKEN, path, str(error))
            return None, None
        self._compare_image(size, orientation)
        return None if quick else hashlib.blake2b(content, digest_size=16).digest(), size

    def _orientation(self, image: Image.Image) -> int:
        """The EXIF orientation, 1 (upright) to 8. In a PNG it may come after the pixels, too late for a quick look."""
        if self.pair.quick and image.format != "JPEG":
            return 1
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        return orientation if orientation in range(1, 9) else 1

    def _compare_image(self, stored: tuple[int, int], orientation: int) -> None:
        """Accepts the image's size where `read_pixels` does: upright, else as stored."""
        path, listed = self.pair.image_path, self.pair.size
        upright = stored[::-1] if orientation in TURNED else stored
        if listed not in (stored, upright):
            self._add(Kind.IMAGE_SIZE, path, f"is {_show(upright)}, the JSON says {_show(listed)}")
        elif orientation != 1 and stored == upright:
            self._add(Kind.EXIF_AMBIGUOUS, path, f"orientation {orientation}")
        elif orientation != 1:
            self._add(Kind.EXIF_TURNED, path, f"orientation {orientation}, read {_show(listed)}")

    def _png(self) -> SegmentShapes | None:
        """The measured segments of the PNG, if it can be read."""
        path, header = self.pair.png_path, b""
        assert path is not None
        try:
            with path.open("rb") as file:
                header = file.read(26)
            check_png_header(path, header)
            if header[24:] == RGBA:
                self._add(Kind.PNG_ALPHA, path)
            if self.pair.quick:
                with Image.open(path, formats=("PNG",)) as image:
                    self._compare_png(path, (image.height, image.width))
                return None
            ids = read_panoptic_png(path)
        except FileNotFoundError:
            self._add(Kind.PNG_MISSING, path)
        except (DataError, *BROKEN_IMAGE_ERRORS) as error:
            other_mode = len(header) == 26 and header.startswith(PNG_SIGNATURE) and header[24:] not in (RGB, RGBA)
            is_empty = isinstance(error, DataError) and not header
            detail = "is empty (0 bytes)" if is_empty else str(error)
            self._add(Kind.PNG_MODE if other_mode else Kind.PNG_BROKEN, path, detail)
        else:
            self._compare_png(path, ids.shape)
            return measure_segments(ids)
        return None

    def _read_anew(self, shapes: SegmentShapes, reading: Reading) -> SegmentShapes | None:
        """The segments with the ids that the PNG should have; `None` where that cannot be told."""
        path, annotation = self.pair.png_path, self.pair.annotation
        assert path is not None and annotation is not None
        ids = reading.segment_ids(shapes.ids, annotation.infos)
        if ids is None:
            self._add(reading.kind, path, "several segments of one category, or a category that is not listed")
            return None
        return replace(shapes, ids=ids)

    def _compare_png(self, path: Path, size: tuple[int, ...]) -> None:
        if size != self.pair.size:
            self._add(Kind.PNG_SIZE, path, f"is {_show(size)}, the JSON says {_show(self.pair.size)}")

    def _segments(self, shapes: SegmentShapes) -> None:
        """Compares the PNG's segments with those of the JSON."""
        path, annotation = self.pair.png_path, self.pair.annotation
        assert path is not None and annotation is not None
        rows = {segment_id: row for row, segment_id in enumerate(shapes.ids.tolist())}
        unlisted = sorted(rows.keys() - annotation.listed_ids - {VOID_ID})
        faults = {Kind.SEGMENT_UNLISTED: [f"id {value}, {shapes.areas[rows[value]]} pixels" for value in unlisted]}
        for info in annotation.infos:
            row = rows.get(info["id"])
            if row is None:
                faults.setdefault(Kind.SEGMENT_EMPTY, []).append(f"id {info['id']}")
                continue
            for kind, text in _wrong_numbers(info, int(shapes.areas[row]), shapes.boxes[row].tolist()):
                faults.setdefault(kind, []).append(f"id {info['id']}: {text}")
        for kind, texts in faults.items():
            if texts:
                self._add(kind, path, _some(texts))
        if not annotation.listed_ids and rows.keys() <= {VOID_ID}:
            self._add(Kind.ALL_VOID, path)


def _decode(image: Image.Image, path: Path, orientation: int) -> None:
    """Reads all pixels, so that a file that is cut off is found; fails where `read_pixels` fails.

    An upright JPEG is decoded at an eighth of its size, which reads every byte in half the time.

    Raises:
        DataError: training could not read it.
        OSError: likewise, or another of `BROKEN_IMAGE_ERRORS`.
    """
    if image.format == "JPEG" and orientation == 1:
        image.draft(image.mode, (max(1, image.width // 8), max(1, image.height // 8)))
        image.load()
    else:
        read_pixels(path)


def _wrong_numbers(info: dict[str, Any], area: int, box: list[int]) -> Iterator[tuple[Kind, str]]:
    """What a listed segment says of its area and box and should not."""
    listed_box = info.get("bbox")
    if "area" not in info or listed_box is None:
        yield Kind.AREA_MISSING, "no area or no bbox"
    if "area" in info and info["area"] != area:
        yield Kind.AREA_WRONG, f"area {info['area']!r} for {area} pixels"
    if listed_box is not None and not _boxes_agree(listed_box, box):
        yield Kind.BOX_WRONG, f"bbox {listed_box!r} for {box}"


def _boxes_agree(listed: Any, measured: list[int]) -> bool:
    if not isinstance(listed, list) or len(listed) != 4 or not all(isinstance(part, int | float) for part in listed):
        return False
    return all(abs(part - true) <= BOX_TOLERANCE for part, true in zip(listed, measured, strict=True))


def _some(texts: list[str], most: int = 3) -> str:
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return "; ".join(texts[:most]) + more


def _show(size: tuple[int, ...]) -> str:
    return "×".join(map(str, size))
