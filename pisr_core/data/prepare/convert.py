"""Other annotations of a user's own images to COCO's panoptic format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pisr_core.config import check_choice
from pisr_core.data.categories import read_categories
from pisr_core.data.coco.instances_json import CocoFile, read_coco_file
from pisr_core.data.pictures.images import IMAGE_SUFFIXES
from pisr_core.data.prepare.coco_instances import CocoInstancesImages, StuffMap
from pisr_core.data.prepare.mask_pairs import MaskPair
from pisr_core.data.prepare.overlaps import OVERLAPS
from pisr_core.data.prepare.split import Progress, SplitReport, write_split
from pisr_core.errors import ConfigError, DataError
from pisr_core.structures import Category, thing_ids


@dataclass(frozen=True)
class StuffSource:
    """Where the stuff of COCO instances comes from: a JSON, or maps with a list of their classes; or from nowhere.

    Attributes:
        json_path: COCO's stuff annotations.
        maps: folder of PNGs with one channel, named as the images.
        categories: the classes of the maps, see `read_categories`; those that are no stuff are left out.
        offset: what is added to the maps' numbers to get category ids; 1 for COCO's `stuffthingmaps`.
    """

    json_path: Path | None = None
    maps: Path | None = None
    categories: Path | None = None
    offset: int = 0

    def __post_init__(self) -> None:
        if self.json_path is not None and self.maps is not None:
            raise ConfigError("stuff is given twice, as a JSON and as maps. Give one of them.")
        if (self.maps is None) != (self.categories is None):
            raise ConfigError("maps of stuff and the list of their categories go together. Give both.")


def convert_instances(
    instances: Path,
    out: Path,
    stuff: StuffSource,
    overlap: str = "smaller-on-top",
    void: Sequence[int] = (),
    workers: int = 0,
    progress: Progress | None = None,
) -> SplitReport:
    """COCO instances, with or without stuff, to COCO panoptic: instances lie on crowds, and crowds on stuff.

    Args:
        instances: JSON in COCO's format of instances.
        out: the panoptic JSON; the PNGs go to the folder of that name without `.json`.
        stuff: what fills the pixels without instance; without it they are void.
        overlap: a name of `OVERLAPS`, which decides within instances, within crowds and within stuff.
        void: category ids that become void, such as COCO's stuff class 183, `other`.
        workers: processes, 0 for one a core.
        progress: called with (done, total) images.

    Raises:
        ConfigError: an unknown rule.
        DataError: files are missing, broken or contradict each other.
    """
    check_choice("overlap", overlap, tuple(OVERLAPS))
    things = read_coco_file(instances, isthing=True)
    stuff_file = None if stuff.json_path is None else read_coco_file(stuff.json_path, isthing=False)
    of_stuff = _stuff_categories(stuff, stuff_file)
    categories = _joined(things.categories, of_stuff, void, instances)
    settings: dict[str, Any] = {"overlap": overlap, "void": sorted(void), "offset": stuff.offset}
    own: CocoFile | StuffMap | None = stuff_file
    if stuff.maps is not None:
        ignored = frozenset(void) | {category.id for category in things.categories}
        own = StuffMap(stuff.maps, stuff.offset, ignored, frozenset(category.id for category in of_stuff) - ignored)
    images = CocoInstancesImages(things, own, frozenset(void), overlap)
    return write_split(images, categories, out, workers, progress, settings)


def _stuff_categories(stuff: StuffSource, file: CocoFile | None) -> tuple[Category, ...]:
    if stuff.categories is not None:
        return tuple(category for category in read_categories(stuff.categories) if not category.isthing)
    return () if file is None else file.categories


def _joined(
    things: Sequence[Category], stuff: Sequence[Category], void: Sequence[int], path: Path
) -> tuple[Category, ...]:
    categories = [category for category in (*things, *stuff) if category.id not in void]
    ids = [category.id for category in categories]
    twice = sorted({i for i in ids if ids.count(i) > 1})
    if twice:
        raise DataError(f"{path}: the category ids {twice} are both things and stuff. Renumber one of them.")
    return tuple(sorted(categories, key=lambda category: category.id))


def convert_masks(
    images: Path,
    semantic: Path,
    instances: Path,
    categories: Path,
    out: Path,
    void: Sequence[int] = (0, 255),
    workers: int = 0,
    progress: Progress | None = None,
) -> SplitReport:
    """A semantic and an instance PNG for each image to COCO panoptic.

    Args:
        images: folder of the images, at any depth.
        semantic: folder of PNGs with the category id of each pixel, in the same places with the ending `.png`.
        instances: folder of PNGs with the number of the instance, 0 for none, likewise.
        categories: the list of classes, see `read_categories`.
        out: the panoptic JSON; the PNGs go to the folder of that name without `.json`.
        void: numbers of the semantic maps that mean no class, where they are no category ids.
        workers: processes, 0 for one a core.
        progress: called with (done, total) images.

    Raises:
        DataError: files are missing, broken or contradict each other.
    """
    for folder in (images, semantic, instances):
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder. Give the folders of the images, semantic and instance maps.")
    classes = read_categories(categories)
    things = frozenset(classes[position].id for position in thing_ids(classes))
    stuff = frozenset(category.id for category in classes) - things
    unclassed = frozenset(void) - things - stuff
    names = sorted(
        path.relative_to(images).as_posix() for path in images.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES
    )
    if not names:
        raise DataError(f"{images}: holds no image. Give the folder of the images.")
    pairs = []
    for image_id, name in enumerate(names, start=1):
        png = Path(name).with_suffix(".png")
        pair = MaskPair(image_id, name, images / name, semantic / png, instances / png, things, stuff, unclassed)
        pairs.append(pair)
    _check_names_differ([pair.png_name for pair in pairs], images)
    return write_split(pairs, classes, out, workers, progress, {"void": sorted(unclassed)})


def _check_names_differ(names: Sequence[str], folder: Path) -> None:
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise DataError(f"{folder}: images that differ in their ending only would share {twice[0]}. Rename one.")
