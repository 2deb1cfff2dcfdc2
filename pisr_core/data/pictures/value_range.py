"""The range of values that the deep images of a set use, found in a few of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from pisr_core.config import DataConfig
from pisr_core.data.pictures.deep_images import ValueRange, deep_pixels, rounded_range, value_limits
from pisr_core.data.pictures.images import opened
from pisr_core.data.sampling import spread_over
from pisr_core.errors import DataError

log = logging.getLogger(__name__)

MOST_IMAGES = 32
"""So many are looked at, spread over the set; of 8-bit ones only the header."""


def find_value_range(paths: Sequence[Path], tell: Callable[[Path], object] = str) -> ValueRange:
    """The stored values that shall become 0 and 255, which is logged; () where no image has more than 8 bits.

    Args:
        paths: the images; what cannot be read is passed over.
        tell: hears of each before it is looked at.
    """
    looked_at = spread_over(paths, MOST_IMAGES)
    limits = []
    for path in looked_at:
        tell(path)
        found = _limits(path)
        limits += [] if found is None else [found]
    if not limits:
        return ()
    lows, highs, whole = zip(*limits, strict=True)
    low, high = rounded_range(min(lows), max(highs), all(whole))
    log.info(
        "images of more than 8 bits a channel: values from %g to %g become 0 to 255, as %d of %d images show that were "
        "looked at. Another range: --set data.value_range=[low, high]",
        low,
        high,
        len(limits),
        len(looked_at),
    )
    return low, high


def with_value_range(config: DataConfig, paths: Sequence[Path], tell: Callable[[Path], object] = str) -> DataConfig:
    """The settings with the range that some images use, if they say none, as those of a model trained on 8 bits."""
    return config if config.value_range else replace(config, value_range=find_value_range(paths, tell))


def _limits(path: Path) -> tuple[float, float, bool] | None:
    """See `value_limits`; `None` for an image of 8 bits."""
    try:
        with opened(path) as image:
            pixels = deep_pixels(image)
            return None if pixels is None else value_limits(pixels)
    except DataError:
        return None
