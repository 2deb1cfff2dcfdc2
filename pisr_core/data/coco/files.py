"""COCO's panoptic format on disk: one JSON file and a folder of PNGs whose colours are segment ids.

The format is described at https://cocodataset.org/#format-data. `area` and `bbox` of the JSON are never
trusted: they are counted from the PNG.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from pisr_core.data.coco.documents import boxes_counted, category_entries, segment_entry, segments_info
from pisr_core.data.coco.entries import is_inside
from pisr_core.data.coco.listed_share import ListedShare
from pisr_core.data.coco.panoptic_json import read_panoptic_json
from pisr_core.data.coco.png_rows import write_png_rows
from pisr_core.data.coco.tables import AnnotationRecord, CocoPanopticFile, ImageRecord
from pisr_core.data.pictures.pillow_errors import BROKEN_IMAGE_ERRORS
from pisr_core.data.pictures.png_decoding import HEADER, PNG_SIGNATURE, read_rgb
from pisr_core.errors import DataError
from pisr_core.pixel_runs import find_runs
from pisr_core.runtime.atomic import written_whole
from pisr_core.structures import VOID_ID, Category, PanopticSegmentation, Segment

__all__ = [
    "AnnotationRecord",
    "CocoPanopticFile",
    "CocoPanopticWriter",
    "ImageRecord",
    "id_to_rgb",
    "read_panoptic_json",
    "read_panoptic_png",
    "read_segmentation",
    "rgb_to_id",
]

log = logging.getLogger(__name__)

RGB, RGBA = bytes((8, 2)), bytes((8, 6))
"""Bits and colour type in the header of PNGs that can hold segment ids."""

PNG_COLOUR_TYPES = {0: "greyscale", 2: "RGB", 3: "palette", 4: "greyscale with alpha", 6: "RGB with alpha"}


def rgb_to_id(rgb: UInt8[np.ndarray, "H W 3"]) -> Int[np.ndarray, "H W"]:
    """Segment ids of a panoptic PNG's colours: R + 256·G + 256²·B, int32."""
    colours = np.ascontiguousarray(rgb).reshape(-1, 3)
    ids = np.zeros(len(colours), np.int32)
    if len(ids) > 1:
        # A pixel's three bytes and the next one's first, as one number; the mask removes the fourth byte.
        numbers = np.ndarray(len(ids) - 1, "<i4", colours, strides=(3,))
        np.bitwise_and(numbers, 0xFFFFFF, out=ids[:-1])
    ids[-1:] = colours[-1:].astype(np.int32) @ np.array([1, 2**8, 2**16], np.int32)
    return ids.reshape(rgb.shape[:2])


def id_to_rgb(ids: Int[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """Colours of segment ids in [0, 2²⁴), the inverse of `rgb_to_id`."""
    return np.stack([ids >> shift & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)


def read_panoptic_png(path: Path) -> Int[np.ndarray, "H W"]:
    """Segment ids of a panoptic PNG, (H, W) int32, see `read_panoptic_colours`."""
    return rgb_to_id(read_panoptic_colours(path))


def read_panoptic_colours(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    """Colours of a panoptic PNG; an alpha channel is left out, as by panopticapi.

    Raises:
        DataError: the file is missing, truncated or no 8-bit RGB PNG, or its alpha says something.
    """
    try:
        with path.open("rb") as file:
            header = file.read(HEADER.size)
        check_png_header(path, header)
        colours = read_rgb(path, header)
        if colours is not None:
            return colours
        with Image.open(path, formats=("PNG",)) as image:
            pixels = np.array(image if image.mode in ("RGB", "RGBA") else image.convert("RGB"))
        if np.ptp(pixels[..., 3:], axis=(0, 1)).any():
            raise ValueError("its alpha differs from pixel to pixel, which segment ids do not tell")
        return pixels[..., :3]
    except FileNotFoundError:
        raise DataError(f"{path}: no such panoptic PNG. Put it there or mend file_name in the JSON.") from None
    except BROKEN_IMAGE_ERRORS as error:
        raise DataError(f"{path}: cannot be read ({error}). Export or download it again.") from error


def write_panoptic_png(path: Path, ids: Int[np.ndarray, "H W"]) -> None:
    """Segment ids in [0, 2²⁴) as a panoptic PNG; its folder is made when it is missing.

    Raises:
        OutputError: it cannot be written.
    """
    with written_whole(path, sync=False) as partial:
        ids_picture(ids).save(partial, format="PNG")


def ids_picture(ids: Int[np.ndarray, "H W"]) -> Image.Image:
    """Segment ids in [0, 2²⁴) as the RGB picture that a panoptic PNG holds."""
    # Four bytes of an id, the lowest first, are R, G, B and one that is left out.
    return Image.frombytes("RGB", ids.shape[::-1], ids.astype("<i4").tobytes(), "raw", "RGBX")


def check_png_header(path: Path, header: bytes) -> None:
    """Refuses all but 8-bit RGB (and RGBA) by the first 26 bytes, for Pillow turns 16 bits into 8 without a word.

    Raises:
        DataError: another kind of PNG, or none.
    """
    if len(header) < 26 or not header.startswith(PNG_SIGNATURE):
        raise DataError(f"{path}: is not a PNG file, or is cut off. Export or download it again.")
    if header[24:26] not in (RGB, RGBA):
        bits, colour_type = header[24], header[25]
        found = f"{bits}-bit {PNG_COLOUR_TYPES.get(colour_type, 'unknown')}"
        raise DataError(f"{path}: is a {found} PNG. Segment ids need 8-bit RGB: id = R + 256·G + 256²·B.")


def read_segmentation(path: Path, record: AnnotationRecord, share: ListedShare | None = None) -> PanopticSegmentation:
    """One annotation with areas counted from its PNG.

    Listed segments without pixels are dropped and pixels of unlisted ids become void, each with one warning.

    Args:
        path: the PNG.
        record: what its ids stand for.
        share: counts the unlisted pixels.

    Raises:
        DataError: the PNG is missing or unreadable, or `share` has seen too much that is unlisted.
    """
    ids = read_panoptic_png(path)
    runs = find_runs(ids)
    area_of = dict(zip(runs.present.tolist(), runs.areas.tolist(), strict=True))
    listed = {segment.id for segment in record.segments}
    unlisted = sorted(area_of.keys() - listed - {VOID_ID})
    empty = sorted(listed - area_of.keys())
    if share is not None:
        share.add(path, record, runs)
    if empty:
        log.warning("%s: segments %s of the JSON have no pixels in the PNG; they are left out.", path, empty)
    if unlisted:
        log.warning("%s: ids %s of the PNG are not in the JSON; their pixels become void.", path, unlisted)
        ids = runs.paint(np.where(np.isin(runs.present, unlisted), VOID_ID, runs.present).astype(np.int32))
    segments = (replace(s, area=area_of[s.id]) for s in record.segments if s.id in area_of)
    return PanopticSegmentation(ids, tuple(segments))


@dataclass
class ReservedImage:
    """An image's place in a JSON that is being written; without segments until its map is there.

    Attributes:
        image: its entry in `images`, complete with the map.
        png_name: of its PNG.
        segments: entries of `segments_info`.
    """

    image: dict[str, Any]
    png_name: str
    segments: list[dict[str, Any]] | None = None


class CocoPanopticWriter:
    """Writes panoptic maps as they come: PNGs at once, the JSON when the `with` block ends well.

    Args:
        json_path: the JSON file.
        png_dir: the folder of the PNGs, created when needed.
        categories: what the segments' class positions mean.
    """

    def __init__(self, json_path: Path, png_dir: Path, categories: Sequence[Category]) -> None:
        self.json_path = Path(json_path)
        self.png_dir = Path(png_dir)
        self.categories = tuple(categories)
        self._entries: dict[int | str, ReservedImage] = {}
        self._png_names: set[str] = set()

    def __enter__(self) -> CocoPanopticWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._write_json()

    def add(self, image_id: int | str, file_name: str, panoptic: PanopticSegmentation) -> Path:
        """Writes one map's PNG and keeps its entry for the JSON.

        Args:
            image_id: the image's id, unique.
            file_name: the image's path in its folder; the PNG takes its place below `png_dir`.
            panoptic: the map; segments without pixels are left out.

        Returns:
            The PNG's path.

        Raises:
            DataError: the id or name came before, or the name leaves the folder.
            OutputError: the PNG cannot be written.
            ValueError: the map holds ids that its segments do not explain.
        """
        return self.write(self.reserve(image_id, file_name), panoptic)

    def reserve(self, image_id: int | str, file_name: str) -> ReservedImage:
        """The next place in the JSON, for a map that `write` may bring later and from another thread.

        Places whose map never comes are left out.

        Raises:
            DataError: the id or name came before, or the name leaves the folder.
        """
        if image_id in self._entries:
            raise DataError(f"{self.json_path}: image id {image_id!r} comes twice. Give every image its own id.")
        png_name = self._free_png_name(file_name)
        self._png_names.add(png_name)
        entry = ReservedImage({"id": image_id, "file_name": file_name}, png_name)
        self._entries[image_id] = entry
        return entry

    def write(self, entry: ReservedImage, panoptic: PanopticSegmentation) -> Path:
        """Writes the PNG of a map that has its place; several threads may do so at once.

        Returns:
            The PNG's path.

        Raises:
            OutputError: the PNG cannot be written.
            ValueError: the map holds ids that its segments do not explain.
        """
        segments = segments_info(panoptic, self.categories, entry.image["file_name"])
        path = self.png_dir / entry.png_name
        height, width = panoptic.ids.shape
        write_panoptic_png(path, panoptic.ids)
        entry.image |= {"width": width, "height": height}
        entry.segments = segments
        return path

    def write_rows(
        self,
        entry: ReservedImage,
        size: tuple[int, int],
        parts: Iterable[Int[np.ndarray, "h W"]],
        segments: Sequence[Segment],
    ) -> Path:
        """As `write`, of a map (H, W) that comes some rows at a time. Its segments have pixels and know their areas."""
        boxes: dict[int, list[int]] = {}
        path = self.png_dir / entry.png_name
        write_png_rows(path, size, boxes_counted(parts, boxes))
        entry.image |= {"width": size[1], "height": size[0]}
        entry.segments = [
            segment_entry(segment, self.categories, segment.area, boxes[segment.id]) for segment in segments
        ]
        return path

    def _free_png_name(self, file_name: str) -> str:
        """`a.png` for `a.jpg`; `a.bmp.png` for `a.bmp` when `a.png` is taken."""
        if not is_inside(file_name):
            raise DataError(f"{self.json_path}: image name {file_name!r} leaves the folder. Use a relative name.")
        for name in (Path(file_name).with_suffix(".png").as_posix(), f"{file_name}.png"):
            if name not in self._png_names:
                return name
        raise DataError(f"{self.json_path}: image {file_name!r} comes twice. Give every image its own name.")

    def _write_json(self) -> None:
        written = [entry for entry in self._entries.values() if entry.segments is not None]
        annotations = [
            {"image_id": entry.image["id"], "file_name": entry.png_name, "segments_info": entry.segments}
            for entry in written
        ]
        content = {
            "images": [entry.image for entry in written],
            "annotations": annotations,
            "categories": category_entries(self.categories),
        }
        with written_whole(self.json_path) as partial:
            partial.write_text(json.dumps(content), encoding="utf-8")
