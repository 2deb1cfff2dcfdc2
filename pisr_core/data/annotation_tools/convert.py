"""Exports of annotation tools to COCO's panoptic format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PureWindowsPath

from pisr_core.config import check_choice
from pisr_core.data.annotation_tools.drawn_images import DrawnImage
from pisr_core.data.annotation_tools.exports import Export, read_export
from pisr_core.data.annotation_tools.shapes import Drawing
from pisr_core.data.coco.entries import distinct_color
from pisr_core.data.coco.file_finder import FileFinder
from pisr_core.data.pictures.images import image_size
from pisr_core.data.prepare.overlaps import OVERLAPS
from pisr_core.data.prepare.raw import check_image
from pisr_core.data.prepare.split import Progress, SplitReport, write_split
from pisr_core.errors import ConfigError, DataError
from pisr_core.structures import Category

NAMED = 5
"""Files that a message names."""


@dataclass(frozen=True)
class ClassNames:
    """What the classes of an export are; its tool does not say it.

    Attributes:
        things: names of classes whose instances are counted.
        stuff: of the others.
        void: of those that become void.
    """

    things: Sequence[str] = ()
    stuff: Sequence[str] = ()
    void: Sequence[str] = ()

    def __post_init__(self) -> None:
        options = {"--things": self.things, "--stuff": self.stuff, "--void": self.void}
        for name, count in Counter(name for names in options.values() for name in set(names)).items():
            if count > 1:
                named = " and ".join(option for option, names in options.items() if name in names)
                raise ConfigError(f"class {name!r} is named in {named}. Name it in one of them.")

    def categories(self, classes: Counter[str], path: Path) -> tuple[Category, ...]:
        """The things and the stuff, with ids from 1 in the order in which they are named.

        Args:
            classes: how many shapes of each class there are.
            path: of the export, for messages.

        Raises:
            ConfigError: there are classes that are not named.
        """
        unknown = sorted(classes.keys() - {*self.things, *self.stuff, *self.void})
        if unknown or not (self.things or self.stuff):
            found = ", ".join(f"{name} ({classes[name]})" for name in unknown)
            raise ConfigError(
                f"{path}: which classes are things, and which are stuff? Not named are, with their numbers of shapes: "
                f"{found or 'all'}. Name them with --things NAME,NAME and --stuff NAME,NAME, and those to leave out "
                "with --void."
            )
        named = [*((name, True) for name in self.things), *((name, False) for name in self.stuff)]
        return tuple(
            Category(number, name, isthing, distinct_color(number))
            for number, (name, isthing) in enumerate(dict.fromkeys(named), start=1)
        )


@dataclass(frozen=True)
class ConvertedExport:
    """What became of an export.

    Attributes:
        tool: that wrote it.
        split: what was written.
        left_out: shapes that cannot be regions, by kind.
        hidden: segments without a pixel, because others cover them or they are too small.
    """

    tool: str
    split: SplitReport
    left_out: dict[str, int]
    hidden: int


def convert_export(
    export: Path,
    images: Path,
    out: Path,
    names: ClassNames,
    overlap: str | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> ConvertedExport:
    """Polygons, boxes and masks of an annotation tool to COCO panoptic; pixels that nothing covers are void.

    Images and classes are checked before anything is written.

    Args:
        export: a file or folder of one tool; see `TOOLS`.
        images: folder of the images, at any depth.
        out: the panoptic JSON; the PNGs go to the folder of that name without `.json`.
        names: which classes are things and which stuff.
        overlap: a name of `OVERLAPS`; by default the tool's.
        workers: processes, 0 for one a core.
        progress: called with (done, total) images.

    Raises:
        ConfigError: classes are not named, or an unknown rule.
        DataError: files are missing, broken or contradict each other.
    """
    if overlap is not None:
        check_choice("overlap", overlap, tuple(OVERLAPS))
    found = read_export(export)
    categories = names.categories(found.classes, export)
    rule = overlap or found.tool.overlap
    drawn = _with_images(found, images, {category.name: category for category in categories}, rule)
    settings = {
        "overlap": rule,
        "things": list(names.things),
        "stuff": list(names.stuff),
        "void": list(names.void),
        "annotations": _digest(drawn),
    }
    split = write_split(drawn, categories, out, workers, progress, settings)
    hidden = sum(len(image.segments) for image in drawn) - split.segments
    return ConvertedExport(found.tool.name, split, dict(found.left_out), hidden)


def _digest(images: Sequence[DrawnImage]) -> str:
    """Of what was drawn, so that a later export does not go on where this one ended."""
    digest = sha256()
    for image in images:
        digest.update(repr((image.file_name, image.size, image.drawing.shapes)).encode())
    return digest.hexdigest()[:16]


def _with_images(export: Export, folder: Path, categories: dict[str, Category], overlap: str) -> list[DrawnImage]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. Give the folder of the images with --images.")
    inside = [tuple(_inside(name) for name in drawing.names) for drawing in export.drawings]
    finder = FileFinder(folder, folder / "export", [name for names in inside for name in names])
    paths = [_first_file(finder, names) for names in inside]
    _check_found(export, paths, folder)
    drawn, sizes_differ = [], []
    for number, (drawing, path) in enumerate(zip(export.drawings, paths, strict=True), start=1):
        assert path is not None  # as was checked
        try:
            size = _size(drawing, path)
        except DataError as error:
            sizes_differ.append(str(error))
            continue
        name = path.relative_to(folder).as_posix()
        drawn.append(DrawnImage(number, name, size, drawing, categories, overlap))
    if sizes_differ:
        raise DataError("\n".join([*sizes_differ[:NAMED], *["…"] * (len(sizes_differ) > NAMED)]))
    return drawn


def _check_found(export: Export, paths: Sequence[Path | None], folder: Path) -> None:
    missing = [drawing for drawing, path in zip(export.drawings, paths, strict=True) if path is None]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {len(paths)} annotated images are not there, such as {missing[0].names[0]!r} "
            f"of {missing[0].path}. Give the folder that holds them all with --images."
        )
    for name, count in Counter(path.with_suffix("") for path in paths if path is not None).items():
        if count > 1:
            raise DataError(f"{folder}: image {name.name} is annotated {count} times. Convert each file by itself.")


def _inside(name: str) -> str:
    """A name without what leads out of its folder."""
    path = PureWindowsPath(name)  # knows both separators
    return "/".join(part for part in path.parts if part != path.anchor and part != "..")


def _first_file(finder: FileFinder, names: Iterable[str]) -> Path | None:
    return next((path for path in map(finder.path, names) if path.is_file()), None)


def _size(drawing: Drawing, path: Path) -> tuple[int, int]:
    if drawing.size is None:
        return image_size(path)
    check_image(path, drawing.size, drawing.path)
    return drawing.size
