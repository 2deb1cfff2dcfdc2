"""The library in three lines: load a model, predict an image, use the result.

`Predictor` stands beside the network instead of in it: networks are plain `nn.Module`s of tensors, and reading files,
drawing and writing belong to the floors above them. `Predictor.network` is the `nn.Module` with the checkpoint's own
weights, to export, look into or train on; predictions are made by a faster copy of it (`engine.fast_model`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
import torch
from jaxtyping import Bool, Int, UInt8
from PIL import Image
from torch import Tensor

from pisr_core.config import Config
from pisr_core.data.coco.files import CocoPanopticWriter
from pisr_core.data.pictures.deep_images import ValueRange
from pisr_core.data.pictures.image_tensors import pillow_to_tensor, read_image
from pisr_core.data.pictures.value_range import with_value_range
from pisr_core.errors import DataError
from pisr_core.inference.fast_model import FastModel, check_precision
from pisr_core.inference.load import load_model as load_network
from pisr_core.inference.mode import inference
from pisr_core.inference.predict import distinct_names, predict_sample
from pisr_core.models import PanopticModel
from pisr_core.pixel_runs import find_runs
from pisr_core.runtime.atomic import written_whole
from pisr_core.runtime.devices.device import choose_device
from pisr_core.structures import Category, PanopticSegmentation, Sample, Segment
from pisr_core.visualization.overlay import overlay

ImageLike = str | Path | Image.Image | np.ndarray | Tensor
"""A file; a Pillow image; (H, W, 3) uint8 RGB as an array; (3, H, W) uint8 RGB as a tensor."""

JPEG_QUALITY = 92


def load_model(
    name: str | Path,
    device: str | torch.device | None = None,
    precision: str = "no",
    compile: bool = False,
    categories: str | Path | None = None,
) -> Predictor:
    """The model of a checkpoint, ready to predict.

    Args:
        name: a checkpoint that `pisr train` or `pisr weights import` wrote; or, fetched where it is not here yet, a
            name that `pisr weights list` shows, or `USER/NAME` on the Hugging Face hub; or a folder in its layout.
        device: `cpu`, `cuda`, `cuda:1`, `mps`; else the fastest here.
        precision: `no` for float32; `bf16` or `fp16` (for GPUs) are faster and predict nearly the same.
        compile: pass the network through `torch.compile`; the first image of each size then takes a minute or more.
        categories: a list of classes, for models of the hub that do not say what is a thing.

    Raises:
        CheckpointError: there is no such checkpoint, or it cannot be fetched or used.
        ConfigError: the device is not here, or an unknown precision.
        DataError: the categories cannot be read.
    """
    chosen = choose_device(None if device is None else str(device))
    check_precision(precision)
    classes = None if categories is None else Path(categories)
    return Predictor(load_network(name, chosen, classes), chosen, precision, compile)


@dataclass(frozen=True, eq=False)
class PredictedSegment:
    """A thing or a piece of stuff in an image.

    Attributes:
        label: the name of its class.
        isthing: whether it is an instance.
        score: confidence in [0, 1].
        area: pixels.
        bbox: (x, y, width, height) in pixels, as in COCO.
        id: its value in the panoptic map.
        category_id: of its class, in the dataset's files.
    """

    label: str
    isthing: bool
    score: float
    area: int
    bbox: tuple[int, int, int, int]
    id: int
    category_id: int
    _ids: Int[np.ndarray, "H W"] = field(repr=False)

    @property
    def mask(self) -> Bool[np.ndarray, "H W"]:
        """(H, W), true on its pixels; made anew at each call."""
        return self._ids == self.id


@dataclass(frozen=True, eq=False)
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

    @cached_property
    def segments(self) -> tuple[PredictedSegment, ...]:
        """All that was found."""
        runs = find_runs(self.panoptic.ids)
        boxes = dict(zip(runs.present.tolist(), map(tuple, runs.boxes.tolist()), strict=True))
        return tuple(self._segment(segment, boxes[segment.id]) for segment in self.panoptic.segments)

    def _segment(self, segment: Segment, box: tuple[int, int, int, int]) -> PredictedSegment:
        category = self.categories[segment.category]
        return PredictedSegment(
            label=category.name,
            isthing=category.isthing,
            score=segment.score,
            area=segment.area,
            bbox=box,
            id=segment.id,
            category_id=category.id,
            _ids=self.panoptic.ids,
        )

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


@dataclass(frozen=True, eq=False)
class Predictor:
    """A trained network and all that it takes from an image to a panoptic map.

    Attributes:
        network: the `nn.Module` with the weights of the checkpoint, in evaluation mode.
        device: where it computes.
        precision: `no`, `bf16` or `fp16`.
        compiled: whether `predict` compiles the network.
    """

    network: PanopticModel
    device: torch.device
    precision: str = "no"
    compiled: bool = False

    @property
    def config(self) -> Config:
        """The preset that it was trained with."""
        return self.network.config

    @property
    def categories(self) -> tuple[Category, ...]:
        """Its classes."""
        return self.network.categories

    @overload
    def predict(self, images: ImageLike) -> Prediction: ...

    @overload
    def predict(self, images: list[ImageLike] | tuple[ImageLike, ...]) -> list[Prediction]: ...

    def predict(self, images: ImageLike | list[ImageLike] | tuple[ImageLike, ...]) -> Prediction | list[Prediction]:
        """Panoptic maps at the images' own sizes; the network sees them at the preset's evaluation size.

        The first call makes a faster copy of the network; what is done to `network` later does not reach it.

        Args:
            images: one image (a file's path, a Pillow image, an (H, W, 3) uint8 RGB array, a (3, H, W) uint8 RGB
                tensor), or a list of them.

        Returns:
            One prediction for one image, a list for a list.

        Raises:
            DataError: an image cannot be read, or is an array of another kind.
        """
        several = images if isinstance(images, list | tuple) else (images,)
        paths = [Path(image) for image in several if isinstance(image, str | Path)]
        value_range = with_value_range(self.network.config.data, paths).value_range
        if isinstance(images, list | tuple):
            names = distinct_names([Path(_name(image)) for image in images])
            return [self._predict(image, name, value_range) for image, name in zip(images, names, strict=True)]
        return self._predict(images, _name(images), value_range)

    @cached_property
    def _fast(self) -> FastModel:
        return FastModel(self.network, self.precision, self.compiled)

    def _predict(self, image: ImageLike, name: str, value_range: ValueRange) -> Prediction:
        sample = Sample(_pixels(image, value_range), None, 1, name)
        with inference(self._fast):
            panoptic = predict_sample(self._fast, sample, self.device)
        return Prediction(name, sample.image.permute(1, 2, 0).contiguous().numpy(), panoptic, self.categories)


def _name(image: object) -> str:
    """The file's name; `image.png` of what has none."""
    source = getattr(image, "filename", "") if isinstance(image, Image.Image) else image
    return (Path(source).name if isinstance(source, str | Path) else "") or "image.png"


def _pixels(image: ImageLike, value_range: ValueRange) -> UInt8[Tensor, "3 H W"]:
    if isinstance(image, str | Path):
        return read_image(Path(image), value_range=value_range)
    if isinstance(image, Image.Image):
        return pillow_to_tensor(image, value_range)
    if isinstance(image, np.ndarray):
        _check_kind("array", str(image.dtype), image.shape, image.shape[2:], "(H, W, 3)")
        return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).contiguous()
    if isinstance(image, Tensor):
        _check_kind("tensor", str(image.dtype).removeprefix("torch."), image.shape, image.shape[:-2], "(3, H, W)")
        return image.detach().cpu().contiguous()
    raise DataError(f"cannot predict a {type(image).__name__}. Give a path, a Pillow image, an array or a tensor.")


def _check_kind(kind: str, dtype: str, shape: Sequence[int], channels: Sequence[int], wanted: str) -> None:
    if dtype != "uint8" or len(shape) != 3 or tuple(channels) != (3,) or 0 in shape:
        raise DataError(
            f"{kind} of {dtype} with shape {tuple(shape)}: give uint8 RGB values (0–255) with shape {wanted}, "
            "and several images as a list."
        )
