"""Which files belong to a split's entries, and how the ids of its PNGs are to be read."""

from __future__ import annotations

from pathlib import Path

from pisr_core.data.checking.findings import Finding, Kind
from pisr_core.data.checking.inspection import Pair
from pisr_core.data.checking.reading.entries import PanopticEntries
from pisr_core.data.checking.reading.splits import SplitSource
from pisr_core.data.checking.segments import SegmentShapes, measure_segments
from pisr_core.data.checking.systematic import Owners, Reading, find_reading, fits
from pisr_core.data.coco.file_finder import FileFinder
from pisr_core.data.coco.files import read_panoptic_png
from pisr_core.data.sampling import spread_over
from pisr_core.errors import DataError
from pisr_core.runtime.processes.parallel import parallel_map

FIRST_LOOK = 32
"""So many PNGs, spread over the split, tell whether most have one fault."""


class SplitPairs:
    """Brings the entries of a split together with their files.

    Args:
        source: the split.
        entries: its JSON.

    Attributes:
        images: where the images lie, by position in the JSON.
        pngs: where the PNGs lie, by image id.
        names: better file names by (list, position) of their entry.
        reading: what the PNGs' ids are, if not segment ids.
        findings: what is odd about the names, and faults that most PNGs share.
    """

    def __init__(self, source: SplitSource, entries: PanopticEntries) -> None:
        self.source = source
        self.entries = entries
        self.names: dict[tuple[str, int], str] = {}
        self.reading: Reading | None = None
        self.findings: list[Finding] = []
        paths = source.paths
        images = FileFinder(paths.images_dir, paths.json_path, entries.image_names)
        pngs = FileFinder(paths.png_dir, paths.json_path, entries.png_names)
        self.images = {
            position: source.image_path(image.file_name)
            if source.of_cityscapes
            else self._find(images, image.file_name, ("images", position))
            for position, image in entries.images.items()
        }
        self.pngs = {
            image_id: self._find(pngs, annotation.file_name, ("annotations", annotation.position))
            for image_id, annotation in entries.annotations.items()
        }

    def _find(self, finder: FileFinder, name: str, entry: tuple[str, int]) -> Path:
        path = finder.path(name)
        if path != finder.folder / name:
            self.findings.append(
                Finding(Kind.NAME_ELSEWHERE, self.source.name, str(path), f"for the name {name}", entry)
            )
            self._rename(path, finder.folder, entry)
        return path

    def _rename(self, path: Path, folder: Path, entry: tuple[str, int]) -> None:
        if folder in path.parents:
            self.names[entry] = path.relative_to(folder).as_posix()

    def diagnose(self, workers: int) -> None:
        """Looks into a few PNGs, and where most of these have one fault in common, reads all accordingly."""
        annotations = self.entries.annotations
        filled = [image_id for image_id, annotation in annotations.items() if annotation.infos]
        looked_at = spread_over(filled, FIRST_LOOK)
        shapes = {i: of_png for i in looked_at if (of_png := _measured(self.pngs[i])) is not None}
        infos = {image_id: annotations[image_id].infos for image_id in shapes}
        if 2 * sum(not fits(of_png, infos[i]) for i, of_png in shapes.items()) <= len(shapes):
            return
        if explained := find_reading([(of_png, infos[i]) for i, of_png in shapes.items()]):
            self.reading, count = explained
            self._add_shared(self.reading.kind, self.reading.meaning, count, len(shapes))
            return
        owners = Owners((image_id, annotations[image_id].infos) for image_id in filled)
        strange = sum(owners.of(of_png) not in (None, i) for i, of_png in shapes.items())
        if 2 * strange > len(shapes):
            self._add_shared(Kind.PNG_EXCHANGED, "their segments are those of other images", strange, len(shapes))
            self._give_to_owners(owners, workers)

    def _add_shared(self, kind: Kind, meaning: str, count: int, looked_at: int) -> None:
        detail = f"{meaning}: {count} of {looked_at} PNGs that were looked at"
        self.findings.append(Finding(kind, self.source.name, str(self.source.paths.png_dir), detail))

    def _give_to_owners(self, owners: Owners, workers: int) -> None:
        """Changes `pngs` and `names` so that each annotation has the PNG with its segments."""
        paths = list(self.pngs.values())
        for path, shapes in zip(paths, parallel_map(_measured, paths, workers), strict=True):
            owner = owners.of(shapes) if shapes is not None else None
            if owner is not None and self.pngs[owner] != path:
                self.pngs[owner] = path
                entry = "annotations", self.entries.annotations[owner].position
                self._rename(path, self.source.paths.png_dir, entry)

    def pairs(self, limit: int, quick: bool) -> list[Pair]:
        """What is to be inspected: the first so many images (0 for all), their headers only if quick."""
        return [
            Pair(
                self.source.name,
                position,
                self.images[position],
                image.size,
                self.pngs.get(image.id),
                self.entries.annotations.get(image.id),
                quick,
                self.reading,
            )
            for position, image in list(self.entries.images.items())[: limit or None]
        ]


def _measured(path: Path) -> SegmentShapes | None:
    """The segments of a PNG, `None` where it cannot be read."""
    try:
        return measure_segments(read_panoptic_png(path))
    except DataError:
        return None
