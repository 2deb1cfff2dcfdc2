"""CVAT for images: one XML for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

from pisr_core.data.annotation_tools.regions import BoxRuns, Region, ellipse, polygon, rectangle, run_lengths, turned
from pisr_core.data.annotation_tools.shapes import Drawing, LabelledImage, LabelledSegment, Shape, pixels
from pisr_core.errors import DataError
from pisr_core.runtime.atomic import written_whole
from pisr_core.structures import Category


def recognises(content: Any) -> bool:
    """Whether an XML is one of CVAT's."""
    return isinstance(content, xml.Element) and content.tag == "annotations" and content.find("version") is not None


def read(content: xml.Element, path: Path) -> Iterator[Drawing]:
    """The images of a file; shapes of one class in one group are one instance, and `z_order` is the level.

    Raises:
        DataError: it holds tracks of a film.
    """
    if content.find("track") is not None:
        raise DataError(f"{path}: is CVAT's format for videos. Export the task as 'CVAT for images 1.1'.")
    for image in content.iter("image"):
        size = pixels(int(image.attrib["height"]), int(image.attrib["width"]))
        drawing = Drawing(path, (image.attrib["name"],), size)
        for entry in image:
            if entry.tag in REGIONS:
                group, level = int(entry.attrib.get("group_id", 0)), int(entry.attrib.get("z_order", 0))
                region = REGIONS[entry.tag](entry.attrib)
                drawing.shapes.append(Shape(entry.attrib["label"], region, group or None, level))
            elif entry.tag != "tag":  # which is one of the whole image
                drawing.left_out[entry.tag] += 1
        yield drawing


def _polygon(entry: dict[str, str]) -> Region:
    return polygon([tuple(map(float, point.split(","))) for point in entry["points"].split(";")])


def _box(entry: dict[str, str]) -> Region:
    left, top, right, bottom = (float(entry[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
    degrees = float(entry.get("rotation", 0))
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    middle = ((left + right) / 2, (top + bottom) / 2)
    return polygon(turned(corners, degrees, middle)) if degrees else rectangle((left, top), (right, bottom))


def _ellipse(entry: dict[str, str]) -> Region:
    centre_x, centre_y, *radii = (float(entry[key]) for key in ("cx", "cy", "rx", "ry"))
    return ellipse((centre_x, centre_y), radii, float(entry.get("rotation", 0)))


def _mask(entry: dict[str, str]) -> Region:
    left, top, width, height = (int(float(entry[key])) for key in ("left", "top", "width", "height"))
    lengths = tuple(int(text) for text in entry["rle"].split(","))
    return BoxRuns(lengths, left, top, (height, width))


REGIONS: dict[str, Callable[[dict[str, str]], Region]] = {
    "polygon": _polygon,
    "box": _box,
    "ellipse": _ellipse,
    "mask": _mask,
}


def write(images: Iterable[LabelledImage], categories: tuple[Category, ...], out: Path) -> None:
    """`out/cvat.xml` with a mask for each segment, which CVAT takes for a task with these images and labels."""
    root = xml.Element("annotations")
    xml.SubElement(root, "version").text = "1.1"
    labels = xml.SubElement(xml.SubElement(xml.SubElement(root, "meta"), "task"), "labels")
    for category in categories:
        label = xml.SubElement(labels, "label")
        xml.SubElement(label, "name").text = category.name
        xml.SubElement(label, "color").text = "#{:02x}{:02x}{:02x}".format(*category.color)
        xml.SubElement(label, "attributes")
    for number, image in enumerate(images):
        height, width = (str(side) for side in image.size)
        entry = xml.SubElement(root, "image", id=str(number), name=image.file_name, width=width, height=height)
        for segment in image.segments:
            xml.SubElement(entry, "mask", _mask_attributes(segment))
    xml.indent(root)
    with written_whole(out / "cvat.xml") as part:
        xml.ElementTree(root).write(part, encoding="utf-8", xml_declaration=True)


def _mask_attributes(segment: LabelledSegment) -> dict[str, str]:
    left, top, width, height = (str(value) for value in segment.box)
    lengths = ", ".join(map(str, run_lengths(segment.mask.ravel())))
    place = {"left": left, "top": top, "width": width, "height": height}
    return {"label": segment.name, "source": "auto", "occluded": "0", "rle": lengths, **place, "z_order": "0"}
