"""What is finished of a split that is being written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from pisr_core.data.coco.documents import category_entries
from pisr_core.data.coco.entries import show
from pisr_core.data.coco.json_files import load_json_lines, load_json_lists
from pisr_core.data.prepare.raw import Entry
from pisr_core.errors import DataError
from pisr_core.runtime.atomic import written_whole
from pisr_core.structures import Category


class FinishedImages(Mapping[int | str, Entry]):
    """The entries of finished images by their ids; they stay in their files until they are asked for.

    Args:
        images: entries of a JSON's `images`.
        annotations: of its `annotations`.
        lines: of images that were finished since, each with both.
    """

    def __init__(self, images: Sequence[Any] = (), annotations: Sequence[Any] = (), lines: Sequence[Any] = ()) -> None:
        self._images, self._annotations, self._lines = images, annotations, lines
        image_rows = {image["id"]: row for row, image in enumerate(images)}
        rows = {annotation["image_id"]: row for row, annotation in enumerate(annotations)}
        self._rows = {image_id: (image_rows[image_id], row) for image_id, row in rows.items()}
        self._line_rows = {line["image"]["id"]: row for row, line in enumerate(lines) if line["annotation"]}

    def __len__(self) -> int:
        return len(self._rows.keys() | self._line_rows.keys())

    def __iter__(self) -> Iterator[int | str]:
        return chain(self._rows, self._line_rows.keys() - self._rows.keys())

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._rows or image_id in self._line_rows

    def __getitem__(self, image_id: int | str) -> Entry:
        if image_id in self._line_rows:
            line = self._lines[self._line_rows[image_id]]
            return {"image": line["image"], "annotation": line["annotation"]}
        image_row, row = self._rows[image_id]
        return {"image": self._images[image_row], "annotation": self._annotations[row]}


class SplitRecord:
    """The entries of finished images: in a file of lines beside the JSON until that is written, then in it.

    Args:
        json_path: the JSON.
        settings: what decides the result beside the images; stands in the JSON's `info`.
    """

    def __init__(self, json_path: Path, settings: dict[str, Any] | None = None) -> None:
        self.json_path = json_path
        self.lines_path = json_path.with_suffix(".partial.jsonl")
        self.settings = settings

    def read(self) -> FinishedImages:
        """The entries that were left, by this run or an earlier one.

        Raises:
            DataError: they were made with other settings, or the JSON is none of this format.
        """
        try:
            return FinishedImages(*self._lists(), self._lines())
        except (AttributeError, KeyError, TypeError) as error:
            raise DataError(
                f"{self.json_path}: what lies there is no panoptic JSON, or {self.lines_path.name} is damaged "
                f"({show(error)}). Remove or rename it."
            ) from error

    def append(self, entry: Entry) -> None:
        """Notes a finished image."""
        self.lines_path.parent.mkdir(parents=True, exist_ok=True)
        with self.lines_path.open("a", encoding="utf-8") as file:
            # The line break comes first, so that a line which the end of a process cut off spoils no other.
            file.write(f"\n{json.dumps({'settings': self.settings, **entry})}")

    def write_json(
        self, finished: Mapping[int | str, Entry], ids: Sequence[int | str], categories: Sequence[Category]
    ) -> None:
        """Writes the JSON, whole or not at all.

        Args:
            finished: entries of images.
            ids: of those that shall be in it, in this order.
            categories: likewise.
        """
        with written_whole(self.json_path) as partial, partial.open("w", encoding="utf-8") as file:
            info = "" if self.settings is None else f'"info": {json.dumps({"settings": self.settings})}, '
            file.write(f'{{{info}"images": [')
            _write_list(file, (finished[image_id]["image"] for image_id in ids))
            file.write('], "annotations": [')
            _write_list(file, (finished[image_id]["annotation"] for image_id in ids))
            file.write(f'], "categories": {json.dumps(category_entries(categories))}}}')
        self.lines_path.unlink(missing_ok=True)

    def _lists(self) -> tuple[Sequence[Any], Sequence[Any]]:
        """The JSON's `images` and `annotations`."""
        if not self.json_path.is_file():
            return (), ()
        content = load_json_lists(self.json_path)
        self._check_settings(content.get("info", {}).get("settings"), self.json_path)
        return content["images"], content["annotations"]

    def _lines(self) -> Sequence[Any]:
        if not self.lines_path.is_file():
            return ()
        lines = load_json_lines(self.lines_path)
        for line in lines:
            self._check_settings(line["settings"], self.lines_path)
        return lines

    def _check_settings(self, found: Any, path: Path) -> None:
        if found != self.settings:
            raise DataError(
                f"{path}: was made with other settings: {show(found)}, now {self.settings}. Remove it with its "
                "PNGs, or name another output."
            )


def _write_list(file: TextIO, entries: Iterable[Any]) -> None:
    for number, entry in enumerate(entries):
        file.write((", " if number else "") + json.dumps(entry))
