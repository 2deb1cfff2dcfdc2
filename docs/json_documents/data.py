"""Data: prepared, drawn and checked."""

from typing import NotRequired, TypedDict


class PreparedSplit(TypedDict):
    """A split in COCO's panoptic format.

    Attributes:
        json_path: its JSON.
        images: all of them.
        made: PNGs that were written now.
        segments: of all images.
        tool: whose annotations were read (`convert annotations`).
        left_out: shapes that can be no region, by kind.
        hidden: regions that others cover wholly.
    """

    json_path: str
    images: int
    made: int
    segments: int
    tool: NotRequired[str]
    left_out: NotRequired[dict[str, int]]
    hidden: NotRequired[int]


class DrawnScenes(TypedDict):
    """The built-in scenes as files.

    Attributes:
        out: the folder.
        train: training images.
        val: validation images.
    """

    out: str
    train: int
    val: int


class Finding(TypedDict):
    """One fault.

    Attributes:
        kind: of fault.
        severity: error, warning or note.
        split: where.
        file: in which file.
        detail: what exactly.
    """

    kind: str
    severity: str
    split: str
    file: str
    detail: str


class FindingKind(TypedDict):
    """A kind of fault: how often, and what helps."""

    severity: str
    count: int
    cure: str


class CheckedClass(TypedDict):
    """What a dataset has of a class."""

    id: int
    name: str
    isthing: int
    images: int
    segments: int
    crowds: int
    pixels: int


class CheckedInstances(TypedDict):
    """What a dataset has of instances.

    Attributes:
        tiny: below 16 pixels.
        small: below 32×32.
    """

    count: int
    most_in_an_image: int
    tiny: int
    small: int
    touching_pairs_of_one_class: int
    median_area: float | None
    median_center_distance: float | None


class Statistics(TypedDict):
    """What is in a dataset."""

    images: int
    void_share: float | None
    classes: list[CheckedClass]
    instances: CheckedInstances


class Suggestion(TypedDict):
    """A setting that suits the data.

    Attributes:
        key: its dotted name.
        value: for `--set`.
        reason: the numbers that it comes from.
    """

    key: str
    value: int | float | list[int | float]
    reason: str


class Check(TypedDict):
    """What is wrong with a dataset.

    Attributes:
        splits: their paths by name.
        kinds: by name.
        statistics: null with `--quick`.
        settings: that suit it, for `--set`.
        changes: what `--fix` mended and how often; null without.
        mended_pngs: folder of new PNGs; null without.
    """

    splits: dict[str, dict[str, str]]
    images: int
    seconds: float
    errors: int
    warnings: int
    notes: int
    kinds: dict[str, FindingKind]
    findings: list[Finding]
    statistics: Statistics | None
    settings: list[Suggestion]
    changes: dict[str, int] | None
    mended_pngs: str | None
