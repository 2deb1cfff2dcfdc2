"""Whether what PNGs hold is listed in their JSON, counted as they are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pisr_core.data.coco.entries import AnnotationRecord
from pisr_core.errors import DataError
from pisr_core.pixel_runs import Runs
from pisr_core.structures import VOID_ID

FEWEST_IMAGES = 16
"""Before so many were read, single bad files may be most of them."""


class ListedShare:
    """Refuses to go on once most of the labelled pixels so far have ids that the JSON does not list.

    Their pixels become void. That is right for a few; of most it would leave nothing to learn or score from.

    Args:
        json_path: of the dataset.
    """

    def __init__(self, json_path: Path) -> None:
        self.json_path = json_path
        self.images = self.labelled = self.unlisted = 0

    def add(self, path: Path, record: AnnotationRecord, runs: Runs) -> None:
        """Counts one PNG.

        Raises:
            DataError: at least `FEWEST_IMAGES` were read, and most of their labelled pixels are unlisted.
        """
        labelled = runs.present != VOID_ID
        unlisted = labelled & ~np.isin(runs.present, [segment.id for segment in record.segments])
        self.images += 1
        self.labelled += int(runs.areas[labelled].sum())
        self.unlisted += int(runs.areas[unlisted].sum())
        if self.images >= FEWEST_IMAGES:
            self.check()

    def check(self) -> None:
        """Raises `DataError` when most of the labelled pixels so far are unlisted."""
        if 2 * self.unlisted > self.labelled:
            share = 100 * self.unlisted / self.labelled
            raise DataError(
                f"{self.json_path}: {share:.0f} % of the labelled pixels of the {self.images} PNGs read so far have "
                "ids that the JSON does not list. The whole set seems to have one fault, such as colours in BGR order: "
                "'pisr data check' names it, and mends what it can with --fix."
            )
