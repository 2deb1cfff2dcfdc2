"""Where the files lie that a JSON names, whatever folders and letters its exporter wrote."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path, PureWindowsPath

Tail = tuple[str, ...]
"""The last parts of a path, in small letters."""


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
        for tail in _tails(parts):
            if tail in self._files:
                return self._files[tail] if self._named[tail] == 1 else None
        return None

    @cached_property
    def _files(self) -> dict[Tail, Path | None]:
        """The files below the folder by their tails; `None` where several end so."""
        found: dict[Tail, Path | None] = {}
        for parent, _, names in os.walk(self.folder):
            for path in (Path(parent, name) for name in names):
                for tail in _tails(path.relative_to(self.folder).parts):
                    found[tail] = None if tail in found else path
        return found

    @cached_property
    def _named(self) -> Counter[Tail]:
        """How many names end in each tail."""
        return Counter(tail for name in self._names for tail in _tails(PureWindowsPath(name).parts))


def _tails(parts: tuple[str, ...]) -> Iterator[Tail]:
    """The parts, and what is left without one, two and more of them at the start."""
    small = tuple(part.casefold() for part in parts)
    return (small[start:] for start in range(len(small)))
