"""Where the files lie that a JSON names, whatever folders and letters its exporter wrote."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path, PurePath, PureWindowsPath

from pisr_core.data.columns import TextColumn


class FileFinder:
    r"""Finds the files of a JSON's names in their folder.

    A name that leads nowhere as it stands is looked for beside the JSON, and then by as many of its last parts as some
    file below the folder has: `panoptic_train/x.png` is found as `x.png`, `a\x.jpg` as `a/x.jpg` and `x.jpg` as
    `x.JPG`. It must be the only file, and the only name, that ends so.

    Args:
        folder: that the names are relative to.
        json_path: that names the files.
        names: all that it names, none of which leaves the folder; read when one is not found at once.
    """

    def __init__(self, folder: Path, json_path: Path, names: Iterable[str]) -> None:
        self.folder = folder
        self._beside = json_path.parent
        self._names = names

    def path(self, name: str) -> Path:
        """Where the file of a name lies; `folder / name` if nowhere."""
        direct = self.folder / name
        # Unlike Path.exists(), this takes names that are too long.
        return direct if os.path.exists(direct) else self._elsewhere(name) or direct

    def _elsewhere(self, name: str) -> Path | None:
        parts = PureWindowsPath(name).parts  # knows both separators
        beside = self._beside.joinpath(*parts)
        if os.path.isfile(beside):
            return beside
        for start in range(len(parts)):
            files = self._files.ending(parts[start:])
            if files:
                unique = len(files) == len(self._named.ending(parts[start:])) == 1
                return self.folder / files[0] if unique else None
        return None

    @cached_property
    def _files(self) -> PathEnds:
        """The files below the folder."""
        found = (Path(parent, name) for parent, _, names in os.walk(self.folder) for name in names)
        return PathEnds(path.relative_to(self.folder) for path in found)

    @cached_property
    def _named(self) -> PathEnds:
        return PathEnds(map(PureWindowsPath, self._names))


class PathEnds:
    """Paths by their last parts, whatever the letters' case; a few arrays, which processes share.

    Args:
        paths: of files.
    """

    def __init__(self, paths: Iterable[PurePath]) -> None:
        ordered = sorted((_backwards(path.parts), str(path)) for path in paths)
        self._backwards = TextColumn(backwards for backwards, _ in ordered)
        self._paths = TextColumn(path for _, path in ordered)

    def ending(self, parts: tuple[str, ...]) -> list[str]:
        """Up to two of the paths that end in these parts."""
        wanted = _backwards(parts)
        first = bisect_left(self._backwards, wanted)
        return [
            self._paths[place]
            for place in range(first, min(first + 2, len(self._paths)))
            if self._backwards[place].startswith(wanted)
        ]


def _backwards(parts: tuple[str, ...]) -> str:
    """The parts in small letters, the last one first: paths that end alike begin alike, and lie together in order."""
    return "".join(f"{part.casefold()}\0" for part in reversed(parts))
