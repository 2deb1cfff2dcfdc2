"""A folder of pictures of images, with one HTML page that shows them all."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from pisr_core.config import DataConfig
from pisr_core.data.pictures.image_tensors import read_image
from pisr_core.data.pictures.value_range import with_value_range
from pisr_core.errors import DataError
from pisr_core.inference.predict import distinct_names, find_images
from pisr_core.results.page import Page
from pisr_core.structures import Sample
from pisr_core.visualization.grid import Panel, draw_grid

log = logging.getLogger(__name__)


@dataclass
class PictureReport:
    """What was written.

    Attributes:
        page: the HTML page.
        images: inputs that were drawn.
        pictures: the PNGs in the page's order.
        failed: why other inputs were skipped.
    """

    page: Path
    images: list[Path] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


class PicturePage:
    """Writes PNGs below a folder and gathers them on a page, `index.html`.

    Args:
        title: of the page.
        out: the folder.

    Attributes:
        report: what was written so far.
    """

    def __init__(self, title: str, out: Path) -> None:
        self.out = out
        self.report = PictureReport(out / "index.html")
        self._page = Page(title)
        self._image = ""

    def paragraph(self, text: str) -> None:
        """Adds plain text."""
        self._page.paragraph(text)

    def begin_image(self, name: str) -> None:
        """Begins the section of an image; its pictures' names start with this one."""
        self._image = name
        self._page.heading(name)

    def grid(self, folder: str, suffix: str, panels: Sequence[Panel], title: str, columns: int = 0) -> None:
        """Draws a grid of panels; see `draw_grid`."""
        self.figure(folder, suffix, title, lambda path, title: draw_grid(path, panels, title, columns))

    def figure(self, folder: str, suffix: str, title: str, draw: Callable[[Path, str], None]) -> None:
        """Adds the picture that `draw(path, title)` writes, `folder/IMAGE-suffix.png`."""
        name = re.sub(r"[^\w.-]+", "-", "-".join(filter(None, (self._image, suffix))))
        path = self.out / folder / f"{name}.png"
        draw(path, title)
        self._page.picture_link(path.relative_to(self.out).as_posix(), title)
        self.report.pictures.append(path)

    def write(self) -> PictureReport:
        """Writes the page."""
        self._page.write(self.report.page)
        return self.report


def draw_images(
    page: PicturePage,
    paths: Sequence[str],
    draw: Callable[[Sample, PicturePage], None],
    config: DataConfig,
    progress: Callable[[int, int], None] | None = None,
) -> PictureReport:
    """Draws every image that the paths lead to and writes the page; those with a broken file or annotation are skipped.

    Args:
        page: takes the pictures.
        paths: images, folders or glob patterns.
        draw: called with each image.
        config: how images are read.
        progress: called with (done, total) after each image.

    Raises:
        DataError: the paths lead to no image.
    """
    images, failed = find_images(paths, exclude=page.out)
    if not images:
        raise DataError("\n".join(failed) or "no images to draw. Name images, folders or patterns.")
    page.report.failed += failed
    value_range = with_value_range(config, images).value_range
    for done, (path, name) in enumerate(zip(images, distinct_names(images), strict=True), start=1):
        try:
            sample = Sample(read_image(path, value_range=value_range), None, done, path.name)
            page.begin_image(Path(name).stem)
            draw(sample, page)
            page.report.images.append(path)
        except DataError as error:
            log.debug("skipped: %s", error)
            page.report.failed.append(str(error))
        if progress is not None:
            progress(done, len(images))
    return page.write()


def host_image(sample: Sample) -> UInt8[np.ndarray, "H W 3"]:
    """A sample's image as pictures are drawn: RGB, channels last."""
    return sample.image.permute(1, 2, 0).contiguous().numpy()
