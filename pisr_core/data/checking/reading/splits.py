"""Which files a check of a dataset looks at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pisr_core.config import check_choice
from pisr_core.data.layouts import (
    SplitPaths,
    ade20k_paths,
    cityscapes_image_path,
    cityscapes_paths,
    coco_paths,
    custom_paths,
    first_complete,
    nuclei_paths,
)

LAYOUTS: dict[str, Callable[[Path, str], list[SplitPaths]]] = {
    "custom": custom_paths,
    "coco": coco_paths,
    "cityscapes": cityscapes_paths,
    "ade20k": ade20k_paths,
    "nuclei": nuclei_paths,
}
"""Where each dataset's splits may lie."""

USUAL_SPLITS = ("train", "val")


@dataclass(frozen=True)
class SplitSource:
    """One annotated split.

    Attributes:
        name: `train`, `val` …
        paths: its JSON and folders; a folder may be missing.
        of_cityscapes: images lie in folders of their cities.
    """

    name: str
    paths: SplitPaths
    of_cityscapes: bool = False

    def image_path(self, file_name: str) -> Path:
        """Where the image of a JSON's `file_name` lies."""
        folder = self.paths.images_dir
        return cityscapes_image_path(folder, file_name) if self.of_cityscapes else folder / file_name


def find_splits(root: Path, dataset: str | None = None, names: Sequence[str] = ()) -> list[SplitSource]:
    """The splits below a root whose JSON is there.

    Args:
        root: the folder of the datasets or of the dataset.
        dataset: a name of `LAYOUTS`; else the first layout of which a split is found.
        names: the splits; else those of `USUAL_SPLITS` that are there.

    Raises:
        ConfigError: no such dataset.
        DataError: a named split, or every usual one, is missing.
    """
    if dataset is not None:
        check_choice("--dataset", dataset, tuple(LAYOUTS))
    for layout in [dataset] if dataset else LAYOUTS:
        found = [_find(layout, root, name) for name in names or USUAL_SPLITS]
        sources = [source for source in found if source is not None]
        if sources and (not names or len(sources) == len(names)):
            return sources
    wanted = (names or USUAL_SPLITS)[0]
    first_complete(LAYOUTS[dataset or "custom"](root, wanted), wanted)
    raise AssertionError("a split without its JSON is complete")


def _find(dataset: str, root: Path, name: str) -> SplitSource | None:
    """The place of the split that has the JSON and lacks the fewest folders."""
    places = [paths for paths in LAYOUTS[dataset](root, name) if paths.json_path.is_file()]
    if not places:
        return None
    best = max(places, key=lambda paths: paths.images_dir.is_dir() + paths.png_dir.is_dir())
    return SplitSource(name, best, dataset == "cityscapes")
