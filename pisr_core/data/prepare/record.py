"""What is finished of a split that is being written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pisr_core.data.coco.entries import show
from pisr_core.data.coco.json_files import load_json
from pisr_core.data.prepare.raw import Entry, category_entries
from pisr_core.errors import DataError
from pisr_core.runtime.atomic import written_whole
from pisr_core.structures import Category


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

    def read(self) -> dict[int | str, Entry]:
        """The entries that earlier runs left, by image id.

        Raises:
            DataError: they were made with other settings, or the JSON is none of this format.
        """
        try:
            return self._from_json() | self._from_lines()
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

    def write_json(self, entries: Sequence[Entry], categories: Sequence[Category]) -> None:
        """Writes the JSON, whole or not at all."""
        content: dict[str, Any] = {} if self.settings is None else {"info": {"settings": self.settings}}
        content["images"] = [entry["image"] for entry in entries]
        content["annotations"] = [entry["annotation"] for entry in entries]
        content["categories"] = category_entries(categories)
        with written_whole(self.json_path) as partial:
            partial.write_text(json.dumps(content), encoding="utf-8")
        self.lines_path.unlink(missing_ok=True)

    def _from_json(self) -> dict[int | str, Entry]:
        if not self.json_path.is_file():
            return {}
        content = load_json(self.json_path)
        self._check_settings(content.get("info", {}).get("settings"), self.json_path)
        images = {image["id"]: image for image in content["images"]}
        return {
            annotation["image_id"]: {"image": images[annotation["image_id"]], "annotation": annotation}
            for annotation in content["annotations"]
        }

    def _from_lines(self) -> dict[int | str, Entry]:
        if not self.lines_path.is_file():
            return {}
        entries = {}
        for line in self.lines_path.read_bytes().splitlines():
            try:
                content = json.loads(line)
            except (ValueError, RecursionError):
                continue  # the first line is empty, and one may be cut off
            self._check_settings(content.pop("settings"), self.lines_path)
            entries[content["image"]["id"]] = content
        return entries

    def _check_settings(self, found: Any, path: Path) -> None:
        if found != self.settings:
            raise DataError(
                f"{path}: was made with other settings: {show(found)}, now {self.settings}. Remove it with its "
                "PNGs, or name another output."
            )
