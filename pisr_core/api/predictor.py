"""The library in three lines: load a model, predict an image, use the result.

`Predictor` stands beside the network instead of in it: networks are plain `nn.Module`s of tensors, and reading files,
drawing and writing belong to the floors above them. `Predictor.network` is the `nn.Module` with the checkpoint's own
weights, to export, look into or train on; predictions are made by a faster copy of it (`inference.fast_model`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from pisr_core.api.prediction import Prediction
from pisr_core.config import Config
from pisr_core.data.pictures.deep_images import ValueRange
from pisr_core.data.pictures.image_tensors import pillow_to_tensor, read_image
from pisr_core.data.pictures.value_range import with_value_range
from pisr_core.errors import DataError
from pisr_core.inference.fast_model import FastModel, check_precision
from pisr_core.inference.load import load_model as load_network
from pisr_core.inference.mode import inference
from pisr_core.inference.predict import distinct_names, predict_sample
from pisr_core.models import PanopticModel
from pisr_core.runtime.devices.device import choose_device
from pisr_core.structures import Category, Sample

ImageLike = str | Path | Image.Image | np.ndarray | Tensor
"""A file; a Pillow image; (H, W, 3) uint8 RGB as an array; (3, H, W) uint8 RGB as a tensor."""


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
    def fast(self) -> FastModel:
        """The copy of the network that predicts."""
        return FastModel(self.network, self.precision, self.compiled)

    def _predict(self, image: ImageLike, name: str, value_range: ValueRange) -> Prediction:
        sample = Sample(_pixels(image, value_range), None, 1, name)
        with inference(self.fast):
            panoptic = predict_sample(self.fast, sample, self.device)
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
