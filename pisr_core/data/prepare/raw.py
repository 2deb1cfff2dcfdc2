"""What an annotated image gives before it has a panoptic PNG, and what is written of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int
from PIL import Image
from scipy import ndimage

from pisr_core.data.coco.files import id_to_rgb
from pisr_core.data.pictures.images import FORMATS, image_size
from pisr_core.data.pictures.pillow_errors import BROKEN_IMAGE_ERRORS
from pisr_core.errors import DataError
from pisr_core.runtime.atomic import written_whole
from pisr_core.structures import VOID_ID


@dataclass(frozen=True)
class Label:
    """What a segment is.

    Attributes:
        category_id: the id of its class in the files.
        iscrowd: whether it is a group of instances that could not be told apart.
    """

    category_id: int
    iscrowd: bool = False


@dataclass(frozen=True)
class LabelledMap:
    """A panoptic map in the ids of the files.

    Attributes:
        ids: (H, W) int32, the segment of each pixel in [0, 2²⁴), `VOID_ID` where there is none.
        labels: what each id stands for; ids without pixels may be among them.
    """

    ids: Int[np.ndarray, "H W"]
    labels: dict[int, Label]


@runtime_checkable
class RawImage(Protocol):
    """An annotated image in the form of its dataset; worker processes read it."""

    @property
    def image_id(self) -> int | str:
        """Its id in the JSON to be."""
        ...

    @property
    def file_name(self) -> str:
        """Its path in the folder of images."""
        ...

    @property
    def png_name(self) -> str:
        """The path of its PNG in their folder."""
        ...

    def read(self) -> LabelledMap:
        """Its annotation.

        Raises:
            DataError: a file is missing or broken, or what it holds cannot be.
        """
        ...


Entry = dict[str, dict[str, Any]]
"""An image's entries of `images` and `annotations`, below the keys `image` and `annotation`."""


def write_image(raw: RawImage, png_dir: Path) -> Entry:
    """Reads an image's annotation and writes its PNG, which appears when it is whole.

    Raises:
        DataError: the annotation cannot be used.
        OutputError: the PNG cannot be written.
    """
    labelled = raw.read()
    with written_whole(png_dir / raw.png_name, sync=False) as partial:
        Image.fromarray(id_to_rgb(labelled.ids)).save(partial, format="PNG")
    height, width = labelled.ids.shape
    return {
        "image": {"id": raw.image_id, "file_name": raw.file_name, "width": width, "height": height},
        "annotation": {
            "image_id": raw.image_id,
            "file_name": raw.png_name,
            "segments_info": segments_info(labelled),
        },
    }


def segments_info(labelled: LabelledMap) -> list[dict[str, Any]]:
    """COCO's entries of the segments that have pixels, by id; areas and boxes (x, y, width, height) are counted."""
    areas = np.bincount(labelled.ids.ravel())
    windows = ndimage.find_objects(labelled.ids)
    entries = []
    for segment_id in np.flatnonzero(areas).tolist():
        if segment_id == VOID_ID:
            continue
        label = labelled.labels[segment_id]
        rows, columns = windows[segment_id - 1]
        entries.append(
            {
                "id": segment_id,
                "category_id": label.category_id,
                "area": int(areas[segment_id]),
                "bbox": [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start],
                "iscrowd": int(label.iscrowd),
            }
        )
    return entries


def read_label_map(path: Path) -> Int[np.ndarray, "H W"]:
    """The numbers of a single-channel image of 8 or 16 bits, int32. Of a palette image these are the indices.

    Raises:
        DataError: the file is missing, broken or in colour.
    """
    values = _read_array(path)
    if values.ndim != 2:
        raise DataError(f"{path}: is in colour, but ids are numbers in one channel. Export it as an 8- or 16-bit PNG.")
    return values


def read_rgb_map(path: Path) -> Int[np.ndarray, "H W 3"]:
    """The channels of an 8-bit RGB image, int32.

    Raises:
        DataError: the file is missing, broken or not RGB.
    """
    values = _read_array(path)
    if values.ndim != 3 or values.shape[2] != 3:
        raise DataError(f"{path}: is no RGB image, as it should be. Download it again.")
    return values


def _read_array(path: Path) -> Int[np.ndarray, "H W *channels"]:
    try:
        with Image.open(path, formats=FORMATS) as image:
            return np.array(image).astype(np.int32)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. Put the annotation there.") from None
    except BROKEN_IMAGE_ERRORS as error:
        raise DataError(f"{path}: cannot be read ({error}). Export or download it again.") from error


def check_size(path: Path, size: tuple[int, int], expected: tuple[int, int], of: Path) -> None:
    """Raises `DataError` when an annotation's (H, W) is not that of another one."""
    if size != expected:
        raise DataError(
            f"{path}: has {size[0]}×{size[1]} pixels, but {of} {expected[0]}×{expected[1]}. Use the ones that belong "
            "together."
        )


def check_image(path: Path, size: tuple[int, int], annotation: Path) -> None:
    """Raises `DataError` when an image is missing or fits its annotation's (H, W) neither upright nor as stored."""
    if size != image_size(path) and size != image_size(path, upright=False):
        check_size(annotation, size, image_size(path), path)


def check_known(path: Path, values: Int[np.ndarray, " n"], what: str) -> None:
    """Raises `DataError` when there are unknown ids."""
    if values.size:
        named = ", ".join(str(value) for value in values[:5].tolist())
        raise DataError(f"{path}: holds the unknown {what} {named}. Check that it belongs to this dataset.")
