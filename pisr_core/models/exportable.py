"""A model as a graph: RGB images in, named tensors out, with or without the merging to a panoptic map.

An exported graph needs shapes that do not depend on values. The mergings that rooms write for it therefore work on a
whole batch with a fixed number of instances, and give a pair of maps: the class of each pixel, `VOID` where there is
none, and the number of its instance, from 1 within each class and 0 for stuff and void.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from pisr_core.models.resizing import STRIDE
from pisr_core.structures import PanopticResult

VOID = -1
"""Class of pixels without a confident prediction."""

PanopticMaps = tuple[Int[Tensor, "b H W"], Int[Tensor, "b H W"]]

PANOPTIC_OUTPUTS = {
    "category": "(batch, height, width) int32: position of each pixel's class in `categories`, -1 for none",
    "instance": "(batch, height, width) int32: number of the instance, from 1 within each class, 0 for stuff and none",
}

LARGEST_SIDE = 1 << 14
"""Pixels."""


class ExportableNetwork(nn.Module, ABC):
    """What is exported of a model: `forward` gives a dictionary of tensors by the names of `outputs`.

    Args:
        model: a two-stage model in evaluation mode, on the CPU.
        merging: give the panoptic map; else the final stage's predictions.

    Attributes:
        raw_outputs: what each output holds without merging.
        free_batch: whether the number of images may be left open.
    """

    raw_outputs: ClassVar[dict[str, str]]
    free_batch: ClassVar[bool] = True

    def __init__(self, model: Any, merging: bool) -> None:
        super().__init__()
        self.model = model
        self.merging = merging

    @property
    def outputs(self) -> dict[str, str]:
        """What each output holds."""
        return PANOPTIC_OUTPUTS if self.merging else self.raw_outputs

    def forward(self, images: UInt8[Tensor, "b 3 H W"]) -> dict[str, Tensor]:
        """Predictions for RGB images whose sides are multiples of the model's size divisor."""
        raw = self.predict(images)
        if not self.merging:
            return raw
        maps = (maps.to(torch.int32) for maps in self.merge(raw))
        return dict(zip(PANOPTIC_OUTPUTS, maps, strict=True))

    @property
    def smallest(self) -> int:
        """Size divisors on the shortest side that the file takes."""
        return 2

    def free_range(self, size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        """The (lowest, highest) height and width in pixels that one graph serves, when traced at `size`."""
        divisor = self.model.size_divisor
        side = (self.smallest * divisor, LARGEST_SIDE // divisor * divisor)
        return side, side

    @torch.no_grad()
    def reference(self, images: UInt8[Tensor, "b 3 H W"]) -> dict[str, Tensor]:
        """What the outputs should be: from the model and its merging as `pisr predict` runs them."""
        output = self.model(images)
        if not self.merging:
            return self.raw(output)
        sizes = [(images.shape[2], images.shape[3])] * len(images)
        maps = [_maps(result, self.model.thing_ids) for result in self.model.panoptic(output, sizes, sizes)]
        return dict(zip(PANOPTIC_OUTPUTS, map(torch.stack, zip(*maps, strict=True)), strict=True))

    @abstractmethod
    def raw(self, output: Any) -> dict[str, Tensor]:
        """The final stage's predictions from the model's output."""

    def aligned(self, actual: dict[str, np.ndarray], expected: dict[str, Tensor]) -> dict[str, np.ndarray]:
        """A file's outputs in the order of the reference's, where the order says nothing."""
        return actual

    def predict(self, images: UInt8[Tensor, "b 3 H W"]) -> dict[str, Tensor]:
        """The final stage's predictions, by steps that can be traced."""
        return self.raw(self.model(images))

    @abstractmethod
    def merge(self, raw: dict[str, Tensor]) -> PanopticMaps:
        """The panoptic maps that follow from `predict`."""


def _maps(result: PanopticResult, thing_ids: Sequence[int]) -> tuple[Int[Tensor, "H W"], Int[Tensor, "H W"]]:
    """The two maps of `PANOPTIC_OUTPUTS` from a panoptic map with segment ids."""
    segments = sorted(result.panoptic.segments, key=lambda segment: segment.id)
    rows = 1 + max((segment.id for segment in segments), default=0)
    category, instance = torch.full((rows,), VOID, dtype=torch.int32), torch.zeros(rows, dtype=torch.int32)
    count = Counter[int]()
    for segment in segments:
        category[segment.id] = segment.category
        if segment.category in thing_ids:
            count[segment.category] += 1
            instance[segment.id] = count[segment.category]
    ids = torch.from_numpy(result.panoptic.ids).long()
    return category[ids], instance[ids]


def enlarge(maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c H W"]:
    """From the stride-4 grid to pixels."""
    return F.interpolate(maps, scale_factor=STRIDE, mode="bilinear", align_corners=False)


def class_table(ids: Sequence[int], num_classes: int, device: torch.device) -> Bool[Tensor, " n"]:
    """Whether each class is one of `ids`: looked up, for ONNX has no `isin`."""
    return torch.tensor([index in ids for index in range(num_classes)], device=device)


def instance_numbers(classes: Int[Tensor, "b k"], present: Bool[Tensor, "b k"], num_classes: int) -> Int[Tensor, "b k"]:
    """The rank of each instance among those of its class that are present, from 1 on."""
    member = F.one_hot(classes, num_classes) * present[..., None]
    return (member.cumsum(dim=1) * member).sum(dim=2)


def count(values: Int[Tensor, "b p"], length: int, mask: Bool[Tensor, "b p"] | None = None) -> Int[Tensor, "b l"]:
    """How often each of 0 … length − 1 occurs (where the mask is true)."""
    ones = torch.ones_like(values) if mask is None else mask.to(values.dtype)
    return torch.zeros(values.shape[0], length, dtype=values.dtype, device=values.device).scatter_add(1, values, ones)
