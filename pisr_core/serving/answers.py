"""What a server answers for an image, from its bytes to JSON and PNG."""

from __future__ import annotations

import base64
import io
from typing import Any

import torch
from PIL import Image

from pisr_core.api.predictor import Predictor
from pisr_core.data.coco.files import ids_picture
from pisr_core.data.pictures.image_tensors import pillow_to_tensor
from pisr_core.figures.heatmaps import gather_maps
from pisr_core.serving.uploads import Limits, Refusal, opened_upload
from pisr_core.structures import Sample
from pisr_core.visualization.heatmaps import class_panels

HEATMAP_SIDE = 1600
"""Longest side of an image whose heatmaps are drawn, pixels."""


class Answerer:
    """Predicts uploads, one at a time.

    Args:
        predictor: the model.
        limits: what is taken.
    """

    def __init__(self, predictor: Predictor, limits: Limits) -> None:
        self.predictor = predictor
        self.limits = limits

    def predict(self, data: bytes, name: str, overlay: bool) -> dict[str, Any]:
        """COCO's panoptic values; `png` is the map of segment ids and `overlay` the picture, both in base64.

        Raises:
            Refusal: the bytes are no image that is taken.
        """
        with opened_upload(data, self.limits) as image:
            prediction = self.predictor.predict(image)
        document = prediction.to_coco()
        stem = name.rpartition(".")[0] or name
        document["images"][0]["file_name"], document["annotations"][0]["file_name"] = name, f"{stem}.png"
        document["png"] = _base64(ids_picture(prediction.panoptic.ids), "PNG")
        if overlay:
            document["overlay"] = _base64(prediction.overlay(), "JPEG")
        return document

    def segment_ids(self, data: bytes) -> bytes:
        """The PNG of segment ids alone.

        Raises:
            Refusal: the bytes are no image that is taken.
        """
        with opened_upload(data, self.limits) as image:
            return _encoded(ids_picture(self.predictor.predict(image).panoptic.ids), "PNG")

    def heatmaps(self, data: bytes, class_name: str) -> dict[str, Any]:
        """What the model sees of a class: before the relation, PISR's F_sp, and after it, as far as it has them.

        Raises:
            Refusal: the bytes are no image that is taken, or no class has this name.
        """
        names = [category.name for category in self.predictor.categories]
        if class_name not in names:
            raise Refusal(400, f"class={class_name[:100]!r}: the model has no such class.")
        with opened_upload(data, self.limits) as image:
            image.draft("RGB", (HEATMAP_SIDE, HEATMAP_SIDE))
            image.thumbnail((HEATMAP_SIDE, HEATMAP_SIDE))
            sample = Sample(pillow_to_tensor(image), None, 1, "image")
        maps = gather_maps(self.predictor.network, sample, self.predictor.device)
        panels = class_panels(maps, names.index(class_name), self.predictor.categories)[1:-1]
        pictures = [
            {"caption": panel.caption, "picture": _base64(Image.fromarray(panel.picture), "JPEG")} for panel in panels
        ]
        return {"class": class_name, "heatmaps": pictures}

    def warm_up(self) -> None:
        """Makes the faster copy of the network before the first upload comes."""
        self.predictor.predict(torch.zeros(3, 64, 64, dtype=torch.uint8))


def _encoded(picture: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=kind)
    return buffer.getvalue()


def _base64(picture: Image.Image, kind: str) -> str:
    return base64.b64encode(_encoded(picture, kind)).decode("ascii")
