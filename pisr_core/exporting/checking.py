"""Whether a file answers as the model does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Shaped, UInt8
from torch import Tensor

from pisr_core.exporting.formats import Runner
from pisr_core.models.exportable import ExportableNetwork

TOLERANCE = 1e-3
"""Of numbers: the largest difference, as a share of the output's largest magnitude."""

LABEL_TOLERANCE = 1e-2
"""Of labels: the share that differs, as two runtimes round differently where two choices are equally good."""


@dataclass(frozen=True)
class Deviation:
    """How far one output is from the model's, at most over all images.

    Attributes:
        output: its name.
        largest: the largest absolute difference; of labels, the largest share of pixels of an image that differ.
        relative: the same as a share of the output's largest magnitude; of labels, the same.
        tolerance: what `relative` may be.
    """

    output: str
    largest: float
    relative: float
    tolerance: float

    @property
    def acceptable(self) -> bool:
        """Whether it lies within the tolerance."""
        return self.relative <= self.tolerance


def compare(
    network: ExportableNetwork,
    run: Runner,
    batches: Sequence[UInt8[Tensor, "b 3 H W"]],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Deviation, ...]:
    """The deviation of each output over all batches.

    Args:
        network: what was exported.
        run: the file.
        batches: images of one size each.
        progress: called with (done, total) after each batch.
    """
    found: dict[str, list[Deviation]] = {name: [] for name in network.outputs}
    for done, images in enumerate(batches, start=1):
        reference = network.reference(images)
        answer = network.aligned(dict(zip(reference, run(images.numpy()), strict=True)), reference)
        for name, expected in reference.items():
            found[name].append(deviation(name, answer[name], expected.numpy()))
        if progress is not None:
            progress(done, len(batches))
    return tuple(_worst(deviations) for deviations in found.values())


def deviation(name: str, actual: Shaped[np.ndarray, "*_"], expected: Shaped[np.ndarray, "*_"]) -> Deviation:
    """How far two arrays lie apart; those of different shapes infinitely far."""
    floating = np.issubdtype(expected.dtype, np.floating)
    tolerance = TOLERANCE if floating else LABEL_TOLERANCE
    if actual.shape != expected.shape or not np.isfinite(actual).all():
        return Deviation(name, np.inf, np.inf, tolerance)
    if not floating:
        share = float((actual != expected).mean())
        return Deviation(name, share, share, tolerance)
    largest = float(np.abs(actual - expected).max(initial=0))
    return Deviation(name, largest, largest / max(float(np.abs(expected).max(initial=0)), 1e-12), tolerance)


def _worst(deviations: Iterable[Deviation]) -> Deviation:
    every = list(deviations)
    first = every[0]
    return Deviation(first.output, max(d.largest for d in every), max(d.relative for d in every), first.tolerance)


def check_batches(
    pictures: Sequence[UInt8[Tensor, "3 _ _"]], sizes: Sequence[tuple[int, int]], counts: Sequence[int]
) -> list[UInt8[Tensor, "b 3 H W"]]:
    """What to compare on: at each size noise, then the pictures brought to that size.

    Args:
        pictures: of any size, at least one.
        sizes: (H, W), pixels.
        counts: numbers of images in a batch, for each size the next of them.
    """
    generator = torch.Generator().manual_seed(0)
    batches = []
    for index, size in enumerate(sizes):
        count = counts[index % len(counts)]
        batches.append(torch.randint(0, 256, (count, 3, *size), dtype=torch.uint8, generator=generator))
        resized = [_resized(picture, size) for picture in pictures]
        resized += resized[: -len(resized) % count] or resized[:1] * (-len(resized) % count)
        batches += [torch.stack(resized[start : start + count]) for start in range(0, len(resized), count)]
    return batches


def _resized(picture: UInt8[Tensor, "3 _ _"], size: tuple[int, int]) -> UInt8[Tensor, "3 H W"]:
    maps = torch.nn.functional.interpolate(picture[None].float(), size=size, mode="bilinear", antialias=True)
    return maps[0].round().clamp(0, 255).to(torch.uint8)
