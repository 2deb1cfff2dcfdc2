"""What a model sees in an image, in the forms that people and other libraries want it in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

from pisr_core.api.notebook import notebook_html, notebook_png
from pisr_core.api.segments import PredictedSegment, predicted_segments
from pisr_core.data.coco.documents import category_entries, segments_info
from pisr_core.data.coco.files import CocoPanopticWriter
from pisr_core.errors import ConfigError
from pisr_core.runtime.atomic import written_whole
from pisr_core.structures import Category, PanopticSegmentation
from pisr_core.visualization.overlay import overlay

JPEG_QUALITY = 92


@dataclass(frozen=True, eq=False, repr=False)
class Prediction:
    """What a model sees in an image.

    Attributes:
        name: file name of the image; `image.png` of one that came without.
        image: (H, W, 3) uint8, RGB.
        panoptic: the map of segments, at the image's size.
        categories: the model's classes.
    """

    name: str
    image: UInt8[np.ndarray, "H W 3"]
    panoptic: PanopticSegmentation
    categories: tuple[Category, ...]

    def __repr__(self) -> str:
        height, width = self.panoptic.ids.shape
        return f"<Prediction of {self.name}: {len(self.panoptic.segments)} segments, {height}×{width} pixels>"

    @cached_property
    def segments(self) -> tuple[PredictedSegment, ...]:
        """All that was found."""
        return predicted_segments(self.panoptic, self.categories)

    def overlay(self) -> Image.Image:
        """The image under its coloured map, with borders and class names."""
        return Image.fromarray(overlay(self.image, self.panoptic, self.categories))

    def save(self, folder: str | Path, name: str | None = None) -> tuple[Path, Path, Path]:
        """Writes `panoptic/NAME.json` and `.png` (COCO's panoptic format, with scores) and `overlay/NAME.jpg`.

        Args:
            folder: where to write; equal names are overwritten.
            name: in place of the image's own, without suffix.

        Returns:
            The paths of the JSON, the PNG and the picture.

        Raises:
            OutputError: a file cannot be written.
        """
        folder, stem = Path(folder), name or Path(self.name).stem
        json_path, picture = folder / "panoptic" / f"{stem}.json", folder / "overlay" / f"{stem}.jpg"
        with CocoPanopticWriter(json_path, json_path.parent, self.categories) as writer:
            png = writer.add(1, f"{stem}{Path(self.name).suffix}", self.panoptic)
        with written_whole(picture) as part:
            self.overlay().save(part, format="JPEG", quality=JPEG_QUALITY)
        return json_path, png, picture

    @property
    def masks(self) -> Bool[np.ndarray, "n H W"]:
        """(n, H, W), true on the pixels of each segment; made anew at each call."""
        ids = np.array([segment.id for segment in self.panoptic.segments], self.panoptic.ids.dtype)
        return self.panoptic.ids == ids[:, None, None]

    @property
    def boxes(self) -> Int[np.ndarray, "n 4"]:
        """(left, top, right, bottom) of each segment in pixels; right and bottom are the first ones outside."""
        boxes = np.array([segment.bbox for segment in self.segments], np.int64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return boxes

    @property
    def scores(self) -> Float[np.ndarray, " n"]:
        """Confidence of each segment in [0, 1]."""
        return np.array([segment.score for segment in self.segments], np.float64)

    @property
    def class_names(self) -> list[str]:
        """Of each segment."""
        return [segment.label for segment in self.segments]

    @property
    def class_ids(self) -> Int[np.ndarray, " n"]:
        """Category id of each segment, as in the dataset's files."""
        return np.array([segment.category_id for segment in self.segments], np.int64)

    def to_coco(self, image_id: int | str = 1) -> dict[str, Any]:
        """COCO's panoptic format as plain values, with scores; `save` writes it with its PNG.

        Args:
            image_id: in place of 1.
        """
        height, width = self.panoptic.ids.shape
        segments = segments_info(self.panoptic, self.categories, self.name)
        png = Path(self.name).with_suffix(".png").name
        return {
            "images": [{"id": image_id, "file_name": self.name, "width": width, "height": height}],
            "annotations": [{"image_id": image_id, "file_name": png, "segments_info": segments}],
            "categories": category_entries(self.categories),
        }

    def to_supervision(self) -> Any:
        """A `supervision.Detections` of all segments, for its annotators, trackers and counters.

        `class_id` holds category ids; `data` has `class_name` and `isthing`.

        Raises:
            ConfigError: `supervision` is not installed.
        """
        try:
            detections = import_module("supervision").Detections
        except ImportError:
            raise ConfigError("supervision is not installed: pip install 'pisr[supervision]'.") from None
        return detections(
            xyxy=self.boxes.astype(np.float32),
            mask=self.masks,
            confidence=self.scores,
            class_id=self.class_ids,
            data={
                "class_name": np.array(self.class_names, dtype=str),
                "isthing": np.array([segment.isthing for segment in self.segments], dtype=bool),
            },
        )

    def _repr_html_(self) -> str:
        """What a notebook shows: the picture with its legend, and a table of segments."""
        return notebook_html(self.overlay(), self.panoptic, self.segments, self.categories)

    def _repr_png_(self) -> bytes:
        """The picture, for notebooks without HTML."""
        return notebook_png(self.overlay())
