"""What lies in the folders: files that no JSON names, and images that lie there twice."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from pisr_core.data.checking.findings import Finding, Kind
from pisr_core.data.checking.reading.pairing import SplitPairs
from pisr_core.data.checking.reading.splits import SplitSource
from pisr_core.data.coco.entries import is_inside


def missing_folders(source: SplitSource) -> Iterator[Finding]:
    """The folders of a split that are not there."""
    for folder in (source.paths.images_dir, source.paths.png_dir):
        if not folder.is_dir():
            yield Finding(Kind.FOLDER_MISSING, source.name, str(folder))


def extra_files(splits: Sequence[SplitPairs]) -> Iterator[Finding]:
    """Images and PNGs in the folders that no split names; splits may share folders."""
    images, pngs = set(), set()
    for split in splits:
        source, entries = split.source, split.entries
        images |= {source.image_path(name) for name in entries.image_names if is_inside(name)}
        pngs |= {source.paths.png_dir / name for name in entries.png_names if is_inside(name)}
        images |= set(split.images.values())
        pngs |= set(split.pngs.values())
    endings = set(Image.registered_extensions())
    seen: set[Path] = set()
    for source in (split.source for split in splits):
        for folder, known, kind in (
            (source.paths.png_dir, pngs, Kind.PNG_EXTRA),
            (source.paths.images_dir, images, Kind.IMAGE_EXTRA),
        ):
            for path in _files_below(folder):
                if path in seen:
                    continue
                seen.add(path)
                if path not in known and path.suffix.lower() in endings:
                    yield Finding(kind, source.name, str(path))


def _files_below(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in sorted(names))


class Copies:
    """Finds images with the same bytes, by their digests."""

    def __init__(self) -> None:
        self._first: dict[bytes, tuple[str, Path]] = {}

    def compare(self, digest: bytes, split: str, path: Path, position: int) -> Finding | None:
        """A finding when an image of these bytes came before from another file."""
        first_split, first_path = self._first.setdefault(digest, (split, path))
        if first_path == path:
            return None
        kind = Kind.IMAGE_REPEATED if first_split == split else Kind.IMAGE_LEAKED
        detail = f"the same as {first_path} of {first_split}"
        return Finding(kind, split, str(path), detail, ("images", position))
