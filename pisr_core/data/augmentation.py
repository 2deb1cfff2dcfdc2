"""Random views of a training image, and the size at which images are evaluated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Int, UInt8
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as transform

from pisr_core.config import DataConfig, check
from pisr_core.data.pictures.images import MAX_MEGAPIXELS
from pisr_core.errors import DataError
from pisr_core.pixel_runs import find_runs
from pisr_core.structures import VOID_ID, PanopticSegmentation, Sample, Segment

MEAN_COLOR = (124, 116, 104)
"""ImageNet's mean RGB, 0–255: about zero once the model has normalised it."""

PADDING_COLORS = {"mean": MEAN_COLOR, "black": (0, 0, 0)}
"""RGB, 0–255, by the words of `data.padding`."""


class Augmentation:
    """Scale, crop, mirror and colour by chance, the same for the image and its annotation.

    Args:
        config: sizes, ranges and probabilities.
    """

    def __init__(self, config: DataConfig) -> None:
        self.config = config
        strength = config.color
        # Hue is a circle of length 1, so a quarter of the strength matches the others.
        jitter = v2.ColorJitter(strength, strength, strength, min(strength / 4, 0.5))
        self._flip_and_color = v2.Compose([v2.RandomHorizontalFlip(config.flip), jitter])

    def __call__(self, sample: Sample, seed: int) -> Sample:
        """A view of the sample, of size `config.crop`; the same for the same seed.

        What the image leaves free at the bottom and right is padded and void. Segments outside the crop
        disappear, and areas are counted anew.

        Raises:
            DataError: the sample has no annotation.
        """
        if sample.panoptic is None:
            raise DataError(f"{sample.file_name}: has no annotation to learn from. Take it out of the split.")
        # Only the CPU's generator is touched, and given back as it was.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            image, mask = self._transform(sample.image, torch.from_numpy(sample.panoptic.ids))
        ids = mask.numpy()
        panoptic = PanopticSegmentation(ids, present_segments(ids, sample.panoptic.segments))
        return replace(sample, image=image, panoptic=panoptic)

    def _transform(
        self, image: UInt8[Tensor, "3 H W"], ids: Int[Tensor, "H W"]
    ) -> tuple[UInt8[Tensor, "3 h w"], Int[Tensor, "h w"]]:
        """Image and ids after scaling, cropping, mirroring, colour jitter and padding."""
        size = (image.shape[1], image.shape[2])
        scaled = self._random_size(size)
        window = [
            slice(start, min(start + crop, side))
            for side, crop in zip(scaled, self.config.crop, strict=True)
            for start in [_random_start(side, crop)]
        ]
        view, mask = scaled_window(image, scaled, window), nearest_window(ids, scaled, window)
        image, mask = self._flip_and_color(tv_tensors.Image(view), tv_tensors.Mask(mask))

        image = pad(image.as_subclass(Tensor), self.config.crop, self.config.padding)
        bottom, right = self.config.crop[0] - mask.shape[0], self.config.crop[1] - mask.shape[1]
        ids = torch.nn.functional.pad(mask.as_subclass(Tensor), (0, right, 0, bottom), value=VOID_ID)
        return image, ids.contiguous()

    def _random_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(H, W) of the scaled image before cropping."""
        config = self.config
        if config.short_side:
            choice = int(torch.randint(len(config.short_side), ()))
            size = resized_size(size, config.short_side[choice], config.max_long_side)
        low, high = config.scale
        factor = low + (high - low) * float(torch.rand(()))
        height, width = max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
        check(
            height * width <= MAX_MEGAPIXELS * 10**6,
            "data.short_side, data.scale",
            (list(config.short_side), list(config.scale)),
            f"an image would be scaled to {height}×{width} pixels, more than {MAX_MEGAPIXELS} megapixels",
        )
        return height, width


def _random_start(length: int, crop: int) -> int:
    return int(torch.randint(max(length - crop, 0) + 1, ()))


def scaled_window(
    image: UInt8[Tensor, "3 H W"], size: tuple[int, int], window: Sequence[slice]
) -> UInt8[Tensor, "3 h w"]:
    """A window of the image scaled to (H, W), without scaling what lies far from it.

    Args:
        image: the whole image.
        size: (H, W) of all of it after scaling.
        window: rows and columns there.
    """
    sources, places, parts = [], [], []
    for length, scaled, wanted in zip(image.shape[1:], size, window, strict=True):
        # Both sides are so many blocks; only those are scaled that the window or its filter's rim touches.
        blocks = math.gcd(length, scaled)
        block, rim = scaled // blocks, math.ceil(max(1, scaled / length)) + 1
        first, last = max(wanted.start - rim, 0) // block, min(-(-(wanted.stop + rim) // block), blocks)
        sources.append(slice(first * length // blocks, last * length // blocks))
        parts.append((last - first) * block)
        places.append(slice(wanted.start - first * block, wanted.stop - first * block))
    return transform.resize(image[:, *sources], parts, antialias=True)[:, *places]


def nearest_window(ids: Int[Tensor, "H W"], size: tuple[int, int], window: Sequence[slice]) -> Int[Tensor, "h w"]:
    """A window of the ids scaled to (H, W): each pixel has the id of the nearest one."""
    rows, columns = (
        # torch's `NEAREST_EXACT`, in its precision; its `NEAREST` is shifted against the image.
        ((torch.arange(wanted.start, wanted.stop) + 0.5) * (length / scaled)).long().clamp(max=length - 1)
        for length, scaled, wanted in zip(ids.shape, size, window, strict=True)
    )
    return ids[rows][:, columns]


def present_segments(ids: Int[np.ndarray, "H W"], segments: tuple[Segment, ...]) -> tuple[Segment, ...]:
    """The segments that have pixels in the map, with their areas counted there."""
    runs = find_runs(ids)
    area_of = dict(zip(runs.present.tolist(), runs.areas.tolist(), strict=True))
    return tuple(replace(s, area=area_of[s.id]) for s in segments if s.id in area_of)


def resized_size(size: tuple[int, int], short_side: int, max_long_side: int) -> tuple[int, int]:
    """(H, W) after scaling the short side to a length, less where the long side would pass its limit.

    Args:
        size: (H, W) in pixels.
        short_side: pixels; 0 keeps the size.
        max_long_side: pixels; 0 for no limit.
    """
    factor = short_side / min(size) if short_side else 1.0
    if max_long_side:
        factor = min(factor, max_long_side / max(size))
    height, width = (max(1, int(side * factor + 0.5)) for side in size)
    return height, width


def evaluation_size(size: tuple[int, int], config: DataConfig) -> tuple[int, int]:
    """(H, W) in pixels at which an image of a size is evaluated."""
    if config.eval_size:
        height, width = config.eval_size
    elif config.eval_rounding == "down":
        height, width = _rounded_down(size, config.eval_short_side, config.eval_max_long_side)
    else:
        height, width = resized_size(size, config.eval_short_side, config.eval_max_long_side)
    multiple = config.eval_multiple
    return -(-height // multiple) * multiple, -(-width // multiple) * multiple


def _rounded_down(size: tuple[int, int], short_side: int, max_long_side: int) -> tuple[int, int]:
    """`resized_size` as `transformers` counts: the long side's fraction is dropped, the short side rounded."""
    low, high = min(size), max(size)
    exact = float(short_side or low)
    if max_long_side and high / low * exact > max_long_side:
        exact = max_long_side * low / high
    short = max(1, round(exact))
    if short == low:
        return size
    long = max(1, int(exact * high / low))
    return (short, long) if size[0] < size[1] else (long if size[0] > size[1] else short, short)


def resize_for_eval(image: UInt8[Tensor, "3 H W"], config: DataConfig) -> UInt8[Tensor, "3 h w"]:
    """The image at its evaluation size, without padding."""
    height, width = evaluation_size((image.shape[1], image.shape[2]), config)
    if config.eval_resizer == "torchvision":
        return transform.resize(image, [height, width], antialias=True)
    picture = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((width, height), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def pad(image: UInt8[Tensor, "3 h w"], size: tuple[int, int], color: str = "mean") -> UInt8[Tensor, "3 H W"]:
    """The image with a colour of `PADDING_COLORS` at the bottom and right up to (H, W)."""
    row = torch.tensor(PADDING_COLORS[color], dtype=torch.uint8).repeat(size[1])
    canvas = row.repeat(size[0], 1).view(*size, 3).permute(2, 0, 1)  # a pixel's colours side by side, as they are read
    canvas[:, : image.shape[1], : image.shape[2]] = image
    return canvas
