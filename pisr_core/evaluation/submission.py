"""Archives for the evaluation servers of COCO and Cityscapes, written while a model predicts."""

from __future__ import annotations

import io
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from pisr_core.data.coco.files import id_to_rgb
from pisr_core.errors import ConfigError
from pisr_core.runtime.atomic import written_whole
from pisr_core.structures import IGNORE_INDEX, Category, PanopticResult, Sample

UNLABELLED = 0
"""Cityscapes' id of pixels without a class."""


class Archive(ABC):
    """One server's zip file, which grows image by image.

    Args:
        file: the open zip file.
        categories: what the results' class positions mean.
    """

    def __init__(self, file: ZipFile, categories: Sequence[Category]) -> None:
        self.file = file
        self.categories = tuple(categories)

    @abstractmethod
    def add(self, sample: Sample, result: PanopticResult) -> None:
        """Adds one image."""

    def finish(self) -> None:  # noqa: B027 (most archives need nothing more)
        """Adds what is known only after the last image."""

    def _write_png(self, name: str, pixels: UInt8[np.ndarray, "H W"] | UInt8[np.ndarray, "H W 3"]) -> None:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="PNG")
        self.file.writestr(name, buffer.getvalue(), ZIP_STORED)  # PNGs are compressed already


class PanopticArchive(Archive):
    """COCO's panoptic format: `NAME.json` and the PNGs of segment ids in `NAME/`.

    Args:
        file: the open zip file.
        categories: what the results' class positions mean.
        name: of the JSON and of the folder.
    """

    def __init__(self, file: ZipFile, categories: Sequence[Category], name: str) -> None:
        super().__init__(file, categories)
        self.name = name
        self._annotations: list[dict[str, Any]] = []

    def add(self, sample: Sample, result: PanopticResult) -> None:
        """Adds one image; servers refuse listed segments without a pixel, so these are left out."""
        panoptic = result.panoptic
        present = set(np.unique(panoptic.ids).tolist())
        infos = [{"id": s.id, "category_id": self.categories[s.category].id} for s in panoptic.segments]
        png = f"{image_name(sample)}.png"
        self._write_png(f"{self.name}/{png}", id_to_rgb(panoptic.ids))
        shown = [info for info in infos if info["id"] in present]
        self._annotations.append({"image_id": sample.image_id, "file_name": png, "segments_info": shown})

    def finish(self) -> None:
        """Adds the JSON."""
        self.file.writestr(f"{self.name}.json", json.dumps({"annotations": self._annotations}), ZIP_DEFLATED)


class InstanceArchive(Archive):
    """Cityscapes' instance task: for each image a text file with the mask, id and score of each thing."""

    def add(self, sample: Sample, result: PanopticResult) -> None:
        """Adds one image: its `…_pred.txt`, and masks of 0 and 255 beside it."""
        name = image_name(sample)
        lines: list[str] = []
        for segment in result.panoptic.segments:
            category = self.categories[segment.category]
            mask = result.panoptic.ids == segment.id
            if not category.isthing or not mask.any():
                continue
            png = f"{name}_{len(lines)}.png"
            self._write_png(png, mask.astype(np.uint8) * 255)
            lines.append(f"{png} {category.id} {float(segment.score)!r}\n")
        self.file.writestr(f"{name}_pred.txt", "".join(lines), ZIP_DEFLATED)


class PixelArchive(Archive):
    """Cityscapes' pixel-level task: a map of class ids for each image, from the semantic map before merging."""

    def add(self, sample: Sample, result: PanopticResult) -> None:
        """Adds one image."""
        table = np.full(IGNORE_INDEX + 1, UNLABELLED, np.uint8)
        table[: len(self.categories)] = [category.id for category in self.categories]
        self._write_png(f"{image_name(sample)}_labelIds.png", table[result.semantic])


def image_name(sample: Sample) -> str:
    """What the servers call an image: Cityscapes' city_sequence_frame, which is its id, or COCO's file name."""
    return sample.image_id if isinstance(sample.image_id, str) else Path(sample.file_name).stem


Opener = Callable[[ZipFile, Sequence[Category]], Archive]


def _coco(split: str, method: str) -> dict[str, Opener]:
    name = f"panoptic_{split}2017_{method}_results"
    return {name: lambda file, categories: PanopticArchive(file, categories, name)}


def _cityscapes(split: str, method: str) -> dict[str, Opener]:
    name = f"cityscapes_panoptic_{split}"
    return {
        f"cityscapes_{split}_{method}_panoptic": lambda file, categories: PanopticArchive(file, categories, name),
        f"cityscapes_{split}_{method}_instance": InstanceArchive,
        f"cityscapes_{split}_{method}_pixel": PixelArchive,
    }


SERVERS: dict[str, Callable[[str, str], dict[str, Opener]]] = {"coco": _coco, "cityscapes": _cityscapes}
"""For each dataset with a server, from a split and a method's name: the archives by their names without `.zip`."""


@contextmanager
def open_submission(
    folder: Path, dataset: str, split: str, method: str, categories: Sequence[Category]
) -> Iterator[dict[Path, Archive]]:
    """Opens a dataset's archives; they appear in the folder when the block ends well, whole.

    Args:
        folder: where to write.
        dataset: a name of `SERVERS`.
        split: part of the dataset.
        method: the name of the model, which COCO's server reads from the file's name.
        categories: the model's.

    Yields:
        The archives by the path that they will have.

    Raises:
        ConfigError: the dataset has no server.
        OutputError: an archive cannot be written.
    """
    if dataset not in SERVERS:
        raise ConfigError(f"dataset {dataset!r} has no evaluation server to write to; {', '.join(SERVERS)} have one.")
    # What the servers split at, `_`, and what file systems dislike, stays out of the name.
    archives = SERVERS[dataset](split, re.sub(r"[^A-Za-z0-9.-]+", "-", method).strip("-") or "pisr")
    with ExitStack() as stack:
        opened = {}
        for name, opener in archives.items():
            path = folder / f"{name}.zip"
            part = stack.enter_context(written_whole(path))
            opened[path] = opener(stack.enter_context(ZipFile(part, "w")), categories)
        yield opened
        for archive in opened.values():
            archive.finish()
