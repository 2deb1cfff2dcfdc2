"""What a check can find: each kind with its severity, its meaning and its cure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum


class Severity(StrEnum):
    """How bad a kind of finding is."""

    ERROR = "error"
    """Training or evaluation would stop."""
    WARNING = "warning"
    """Everything runs, but this is surely not meant."""
    NOTE = "note"
    """Good to know."""


class Kind(Enum):
    """One kind of finding; its members are sorted from the worst."""

    JSON_BROKEN = ("json-broken", Severity.ERROR, "the JSON cannot be read", "export it again")
    FOLDER_MISSING = ("folder-missing", Severity.ERROR, "a folder is missing", "put it there")
    SPLIT_EMPTY = (
        "split-empty",
        Severity.ERROR,
        "no images, no annotations, no categories, or more than 65,535",
        "mend the JSON's lists",
    )
    ENTRY_BROKEN = ("entry-broken", Severity.ERROR, "a key is missing or its value impossible", "mend the entry")
    NAME_OUTSIDE = ("name-outside", Severity.ERROR, "a file name leaves its folder", "use a relative name without '..'")
    ID_REPEATED = ("id-repeated", Severity.ERROR, "an id comes twice", "give each its own; --fix drops exact copies")
    ISTHING_ODD = (
        "isthing-odd",
        Severity.ERROR,
        "isthing is no 0 or 1, but what it shall be is clear",
        "--fix writes it",
    )
    CATEGORY_UNKNOWN = ("category-unknown", Severity.ERROR, "a category_id is not listed", "add it to categories")
    CATEGORIES_DIFFER = (
        "categories-differ",
        Severity.ERROR,
        "the splits have other classes",
        "use the same categories in every JSON",
    )
    IMAGE_MISSING = ("image-missing", Severity.ERROR, "a listed image is missing", "put it there, or --fix")
    IMAGE_BROKEN = ("image-broken", Severity.ERROR, "an image cannot be read", "replace or remove it")
    IMAGE_SIZE = ("image-size", Severity.ERROR, "image and JSON differ in size", "use the image that was annotated")
    ANNOTATION_ORPHAN = ("annotation-orphan", Severity.ERROR, "its image is not listed", "list the image, or --fix")
    CHANNELS_SWAPPED = (
        "channels-swapped",
        Severity.ERROR,
        "the PNGs' colours are in BGR order",
        "--fix writes mended PNGs; OpenCV writes BGR, so turn colours around before it",
    )
    IDS_SHIFTED = ("ids-shifted", Severity.ERROR, "the PNGs' ids are off by one", "--fix writes mended PNGs")
    CATEGORY_IDS = (
        "category-ids",
        Severity.ERROR,
        "the PNGs hold category ids in place of segment ids",
        "--fix mends PNGs with one segment a category; export the others again",
    )
    PNG_EXCHANGED = (
        "png-exchanged",
        Severity.ERROR,
        "the PNGs belong to other images than their names say",
        "--fix writes the right names",
    )
    PNG_MISSING = ("png-missing", Severity.ERROR, "a panoptic PNG is missing", "put it there, or --fix")
    PNG_BROKEN = ("png-broken", Severity.ERROR, "a panoptic PNG cannot be read", "export it again")
    PNG_MODE = ("png-mode", Severity.ERROR, "a panoptic PNG is not 8-bit RGB", "save ids as R + 256·G + 65536·B")
    PNG_SIZE = ("png-size", Severity.ERROR, "PNG and JSON differ in size", "export the annotation again")
    SEGMENT_UNLISTED = (
        "segment-unlisted",
        Severity.ERROR,
        "ids of the PNG are not in the JSON: void in training, refused by eval",
        "list them in segments_info, or make their pixels 0",
    )
    ANNOTATION_MISSING = (
        "annotation-missing",
        Severity.WARNING,
        "an image has no annotation: it is left out",
        "annotate it, or --fix",
    )
    SEGMENT_EMPTY = ("segment-empty", Severity.WARNING, "a listed segment has no pixels", "drop it: --fix")
    AREA_WRONG = ("area-wrong", Severity.WARNING, "area is not the number of pixels", "--fix counts it")
    BOX_WRONG = ("box-wrong", Severity.WARNING, "bbox is more than a pixel off", "--fix measures it")
    ISTHING_DIFFERS = ("isthing-differs", Severity.WARNING, "isthing is not its category's", "--fix takes the latter")
    STUFF_SPLIT = (
        "stuff-split",
        Severity.WARNING,
        "several segments of one stuff class in an image: only one can match",
        "give them one id",
    )
    ALL_VOID = ("all-void", Severity.WARNING, "an annotation without any segment", "annotate the image or remove it")
    NAME_REPEATED = ("name-repeated", Severity.WARNING, "several entries name one file or class", "keep one")
    IMAGE_REPEATED = ("image-repeated", Severity.WARNING, "images with the same bytes", "keep one")
    IMAGE_LEAKED = ("image-leaked", Severity.WARNING, "the same bytes in two splits: scores lie", "keep one")
    EXIF_AMBIGUOUS = (
        "exif-ambiguous",
        Severity.WARNING,
        "EXIF turns the image, and its size fits the annotation both ways; it is read turned",
        "store the pixels upright, without the tag",
    )
    NUMBER_INVALID = ("number-invalid", Severity.WARNING, "NaN or Infinity, which JSON does not have", "write a number")
    EXIF_TURNED = ("exif-turned", Severity.NOTE, "EXIF turns the image; it is read as the annotation fits", "nothing")
    NAME_ELSEWHERE = (
        "name-elsewhere",
        Severity.NOTE,
        "a file lies elsewhere than its name says; it is found",
        "nothing, or --fix writes the right name",
    )
    CROWD = ("crowd", Severity.NOTE, "crowd segments", "nothing; targets.ignore_crowd_… say how they train")
    AREA_MISSING = ("area-missing", Severity.NOTE, "area or bbox is absent; other tools ask for it", "--fix adds it")
    PNG_ALPHA = (
        "png-alpha",
        Severity.NOTE,
        "a panoptic PNG has an alpha channel, which is left out",
        "nothing, or save RGB",
    )
    IMAGE_EXTRA = ("image-extra", Severity.NOTE, "an image that no JSON lists", "nothing, or annotate it")
    PNG_EXTRA = ("png-extra", Severity.NOTE, "a PNG that no JSON names", "nothing, or list it")
    CLASS_UNUSED = ("class-unused", Severity.NOTE, "classes without a segment", "nothing, or take them out")

    def __init__(self, label: str, severity: Severity, meaning: str, cure: str) -> None:
        self.label = label
        self.severity = severity
        self.meaning = meaning
        self.cure = cure


@dataclass(frozen=True)
class Finding:
    """One thing found.

    Attributes:
        kind: what it is.
        split: the split in which it is.
        file: the path of the image, PNG, JSON or folder that is at fault.
        detail: what exactly, with the numbers.
        entry: (list, position) of the JSON's entry that it is about, where there is one.
    """

    kind: Kind
    split: str
    file: str
    detail: str = ""
    entry: tuple[str, int] | None = None

    def to_json(self) -> dict[str, str]:
        """The finding for machines."""
        return {
            "kind": self.kind.label,
            "severity": self.kind.severity.value,
            "split": self.split,
            "file": self.file,
            "detail": self.detail,
        }
