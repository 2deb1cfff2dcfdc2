"""What a file or folder holds that was exported from an annotation tool, and from which."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

from pisr_core.data.annotation_tools import cityscapes, coco, cvat, datumaro, label_studio, labelme, supervisely
from pisr_core.data.annotation_tools.shapes import Drawing
from pisr_core.data.coco.entries import show
from pisr_core.data.coco.json_files import load_json
from pisr_core.errors import DataError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tool:
    """An annotation tool.

    Attributes:
        name: for messages.
        recognises: whether the content of a file is this tool's.
        read: the images of a file.
        overlap: the rule that fits it, a name of `OVERLAPS`.
    """

    name: str
    recognises: Callable[[Any], bool]
    read: Callable[[Any, Path], Iterator[Drawing]]
    overlap: str = "smaller-on-top"


TOOLS = (
    Tool("LabelMe", labelme.recognises, labelme.read),
    Tool("CVAT", cvat.recognises, cvat.read),
    Tool("Label Studio", label_studio.recognises, label_studio.read),
    Tool("Supervisely", supervisely.recognises, supervisely.read),
    Tool("Datumaro", datumaro.recognises, datumaro.read),
    Tool("Cityscapes polygons", cityscapes.recognises, cityscapes.read, overlap="later-on-top"),
    Tool("COCO instances", coco.recognises, coco.read),
)


@dataclass(frozen=True)
class Export:
    """The annotations of one tool.

    Attributes:
        tool: which one.
        drawings: of all images.
    """

    tool: Tool
    drawings: tuple[Drawing, ...]

    @property
    def classes(self) -> Counter[str]:
        """How many shapes each class has."""
        return Counter(shape.name for drawing in self.drawings for shape in drawing.shapes)

    @property
    def left_out(self) -> Counter[str]:
        """How many shapes of each kind cannot be regions."""
        return sum((drawing.left_out for drawing in self.drawings), Counter())


def read_export(path: Path) -> Export:
    """All images of a file, or of the files in a folder and below it; files of no tool are passed over.

    Raises:
        DataError: files are broken, of several tools or of none.
    """
    tool, first, strange = None, None, []
    drawings: list[Drawing] = []
    for file in _files(path):
        content = _content(file)
        found = next((tool for tool in TOOLS if tool.recognises(content)), None)
        if found is None:
            strange.append(file)
            continue
        if tool is not None and found is not tool:
            raise DataError(
                f"{path}: holds files of {tool.name} ({first}) and of {found.name} ({file}). Convert each by itself."
            )
        tool, first = found, first or file
        drawings += _drawings(found, content, file)
    if tool is None:
        raise DataError(
            f"{path}: holds no annotations that are known here. Give an export of {', '.join(t.name for t in TOOLS)}."
        )
    if strange:
        log.info("%s: passed over %d other files, such as %s.", path, len(strange), strange[0].name)
    return Export(tool, tuple(drawings))


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
        return sorted(file for file in found if file.suffix.lower() in (".json", ".xml"))
    if path.is_file():
        return [path]
    raise DataError(f"{path}: no such file or folder. Give what the annotation tool exported.")


def _content(path: Path) -> Any:
    if path.suffix.lower() != ".xml":
        return load_json(path)
    try:
        return xml.parse(path).getroot()
    except (OSError, xml.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path}: is no valid XML ({error}). Export it again.") from error


def _drawings(tool: Tool, content: Any, path: Path) -> list[Drawing]:
    try:
        return list(tool.read(content, path))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise DataError(
            f"{path}: is broken, or no file as {tool.name} writes it ({show(error)}). Export it again."
        ) from error
