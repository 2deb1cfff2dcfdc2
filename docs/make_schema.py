"""Writes schema/*.json beside this file, what `--json` prints of each command: `python docs/make_schema.py`.

The documents stand here; what they take over from `pisr` as it is comes from there, with its words.
"""

import inspect
import json
import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import msgspec

from pisr_core.backbones.listing import BackboneDescription
from pisr_core.config import Config
from pisr_core.environment import Environment
from pisr_core.metrics.films import FilmResult
from pisr_core.metrics.panoptic_quality import ClassQuality, GroupQuality
from pisr_core.paper import Table
from pisr_core.profiling.dry_run import DryRun
from pisr_core.profiling.speed import Speed
from pisr_core.results.against import Difference
from pisr_core.results.comparison import Comparison
from pisr_core.results.table import Cell
from pisr_core.studies.study_report import VariantReport
from pisr_core.weights.fitting import ClassMatch, FitReport
from pisr_core.weights.public.sources import WeightsSource

FOLDER = Path(__file__).with_name("schema")
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def with_fields(kind: type, **fields: Any) -> Any:
    """The document that a dataclass becomes with further fields."""
    document: Any = TypedDict(kind.__name__, typing.get_type_hints(kind) | fields)  # type: ignore[misc]
    document.__doc__ = kind.__doc__
    return document


class Training(TypedDict):
    """A run that has ended.

    Attributes:
        out: its folder.
        steps: optimiser steps made.
        pq: of the last evaluation, 0–100.
        best_pq: of the weights in `best`.
        best_step: their step.
        best: their file.
        last: the file of the last weights.
        reinitialised: tensors that the weights given did not fit.
        class_match: how their classes met the data's; null without any.
        memory: bytes at the peak; null where nobody tells.
        image_memory: bytes that each image of a micro-batch adds.
    """

    out: str
    steps: int
    pq: float | None
    best_pq: float | None
    best_step: int
    best: str
    last: str
    reinitialised: list[str]
    class_match: ClassMatch | None
    memory: int | None
    image_memory: int | None


class PanopticScores(TypedDict):
    """PQ, SQ and RQ, 0–100; null where no class occurs.

    Attributes:
        per_class: by category id.
    """

    all: GroupQuality
    things: GroupQuality
    stuff: GroupQuality
    per_class: dict[str, ClassQuality]


class SemanticScores(TypedDict):
    """0–100; null where nothing was annotated.

    Attributes:
        miou: mean of the classes' IoU.
        pixel_accuracy: share of the labelled pixels whose class is right.
        per_class: IoU by category id.
        iiou: Cityscapes' mean iIoU of its thing classes; only there.
        iiou_categories: the same of its groups of classes.
        iiou_per_class: iIoU by category id.
    """

    miou: float | None
    pixel_accuracy: float | None
    per_class: dict[str, float | None]
    iiou: NotRequired[float | None]
    iiou_categories: NotRequired[float | None]
    iiou_per_class: NotRequired[dict[str, float | None]]


class InstanceScores(TypedDict):
    """Mask AP, 0–100; null where it is not defined.

    Attributes:
        per_class: AP by category id.
        per_class_ap50: AP50 by category id.
    """

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    per_class: dict[str, float | None]
    per_class_ap50: dict[str, float | None]


class MistakeCost(TypedDict):
    """What one kind of mistake costs: PQ where it is replaced by the truth, less PQ; null where no class occurs.

    Attributes:
        all: over all classes.
        things: over thing classes.
        stuff: over stuff classes.
        mistakes: how many there are.
    """

    all: float | None
    things: float | None
    stuff: float | None
    mistakes: int


class ImageAgainst(TypedDict):
    """PQ of one image, 0–100; null without any segment.

    Attributes:
        pq: of the model that is evaluated.
        against: of the other one.
    """

    image_id: int | str
    file_name: str
    pq: float | None
    against: float | None


class Against(TypedDict):
    """The comparison with another model on the same images.

    Attributes:
        scores: file of the other one.
        resamples: of the images, for the intervals.
        per_class: by category id.
        per_image: the images that differ most.
    """

    scores: str
    resamples: int
    all: Difference
    things: Difference
    stuff: Difference
    per_class: dict[str, Difference]
    per_image: list[ImageAgainst]


class Evaluation(TypedDict, total=False):
    """Scores, 0–100; each part is there where it was counted.

    Attributes:
        images: their number.
        seconds: wall time.
        comparisons: the paper's tables beside (`--compare`).
        archives: files for evaluation servers (`--submission`).
        errors: what each kind of mistake costs, by its name (`--out`, `--against`).
        against: another model beside (`--against`).
    """

    panoptic: PanopticScores
    semantic: SemanticScores
    instance: InstanceScores
    images: int
    seconds: float
    comparisons: list[Comparison]
    archives: list[str]
    errors: dict[str, MistakeCost]
    against: Against


class PredictedFiles(TypedDict):
    """An image's files.

    Attributes:
        image: the input.
        panoptic: the PNG of segment ids.
        overlay: the picture; of a film's frame the film of pictures.
        segments: their number.
    """

    image: str
    panoptic: str
    overlay: str
    segments: int


class Prediction(TypedDict):
    """What was predicted.

    Attributes:
        checkpoint: the model.
        images: in the order of the inputs; of a film each frame.
        failed: why others were skipped.
    """

    checkpoint: str
    images: list[PredictedFiles]
    failed: list[str]


class Heatmaps(TypedDict):
    """Pictures of what a model sees.

    Attributes:
        page: shows them all.
        images: that were looked at.
        pictures: files.
        failed: why other inputs were skipped.
    """

    page: str
    images: list[str]
    pictures: list[str]
    failed: list[str]


class PartCount(TypedDict):
    """Operations of a part.

    Attributes:
        gmac: 10⁹ multiply-accumulates.
        gflop: 10⁹ operations as the paper counts them.
    """

    gmac: float
    gflop: float


class Count(PartCount):
    """Operations of a network, and of its parts by name."""

    parts: dict[str, PartCount]


class Cost(Count):
    """One model's operations.

    Attributes:
        name: of the preset or checkpoint.
        checkpoint: its file; null of a preset.
        size: (height, width) of the image, pixels.
        parameters: their number.
        base_parameters: without the relation; null of a base.
        uncounted_elements: output elements of operations that are not counted, by name.
        fused: with the attention in the order that never builds the maps; null without PISR.
        base: without the relation; null of a base.
        added_percent: what the relation adds to it.
        speed: null where it was not measured.
        paper: the printed numbers; null without any.
    """

    name: str
    checkpoint: str | None
    size: tuple[int, int]
    parameters: int
    base_parameters: int | None
    uncounted_elements: dict[str, int]
    fused: Count | None
    base: Count | None
    added_percent: float | None
    speed: with_fields(Speed, fps=float, forward_fps=float) | None  # type: ignore[valid-type]
    paper: dict[str, float] | None


class Costs(TypedDict):
    """Operations and speed.

    Attributes:
        convention: what counts as an operation.
    """

    convention: str
    models: list[Cost]


class Ablation(TypedDict):
    """PQ over K.

    Attributes:
        out: the folder.
        rows: those of `ablate_k.csv`.
    """

    out: str
    rows: list[dict[str, Cell]]


class Study(TypedDict):
    """Variants over seeds.

    Attributes:
        out: the folder.
        reference: the variant that the others are compared with.
        variants: scores and gains.
        runs: those of `study.csv`.
    """

    out: str
    reference: str
    variants: list[VariantReport]
    runs: list[dict[str, Cell]]


class OutputDeviation(TypedDict):
    """How far one output is from the model's.

    Attributes:
        largest: the largest absolute difference; of labels the largest share of pixels that differ.
        relative: as a share of the output's largest magnitude.
        tolerance: what `relative` may be.
    """

    largest: float
    relative: float
    tolerance: float


class Export(TypedDict):
    """An exported model.

    Attributes:
        out: the file.
        megabytes: its size, 10⁶ bytes.
        checked_sizes: (height, width) at which it was compared with the model.
        deviations: by output.
        metadata: what the file says of itself.
    """

    out: str
    megabytes: float
    checked_sizes: list[tuple[int, int]]
    deviations: dict[str, OutputDeviation]
    metadata: dict[str, Any]


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


class Pushed(TypedDict):
    """A model on the hub, and its page."""

    name: str
    page: str


class ExportedFolder(TypedDict):
    """A model as a folder in the hub's layout.

    Attributes:
        scores: on its card; empty without any.
    """

    out: str
    files: list[str]
    scores: dict[str, Any]


DOCUMENTS: dict[str, tuple[Any, ...]] = {
    "ablate-k": (Ablation,),
    "data check": (Check,),
    "data convert": (dict[str, PreparedSplit],),
    "data prepare": (DrawnScenes, dict[str, PreparedSplit]),
    "env": (Environment,),
    "eval": (Evaluation, with_fields(FilmResult, windows=dict[str, GroupQuality])),
    "export": (Export,),
    "flops": (Costs,),
    "predict": (Prediction,),
    "presets": (Config, Table, list[Config], list[BackboneDescription]),
    "study": (Study,),
    "train": (Training, with_fields(DryRun, preset=str, out=str)),
    "visualize-heatmaps": (Heatmaps,),
    "weights download": (with_fields(WeightsSource, path=str, name=str), dict[str, str]),
    "weights export": (ExportedFolder,),
    "weights import": (with_fields(FitReport, out=str), dict[str, Any]),
    "weights list": (list[with_fields(WeightsSource, name=str)],),
    "weights push": (Pushed,),
    "weights show": (with_fields(WeightsSource, name=str),),
}
"""What each command may print, by its words; a group's stands for all of its commands."""


def schemas() -> dict[str, dict[str, Any]]:
    """The schema of each command's document."""
    return {command: schema(command, kinds) for command, kinds in DOCUMENTS.items()}


def schema(command: str, kinds: tuple[Any, ...]) -> dict[str, Any]:
    """One schema; objects have no other keys than those that it lists."""
    found, parts = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    described = {name: _strict(part) for name, part in sorted(parts.items())}
    whole = found[0] if len(found) == 1 else {"anyOf": list(found)}
    return {"$schema": DIALECT, "title": f"pisr {command} --json", **whole, "$defs": described}


def _strict(part: dict[str, Any]) -> dict[str, Any]:
    """A part whose properties say what they are, in the words of its docstring, and which has no others."""
    text = inspect.cleandoc(part.get("description", ""))
    summary, _, attributes = text.partition("\n\nAttributes:\n")
    words = dict(re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", attributes, flags=re.MULTILINE))
    for name, own in part.get("properties", {}).items():
        own.pop("default", None)
        if name in words:
            own["description"] = " ".join(words[name].split())
    if "properties" in part:
        part["additionalProperties"] = False
    return part | ({"description": " ".join(summary.split())} if summary else {})


def files(found: Mapping[str, Any]) -> dict[Path, str]:
    """What is written, by file."""
    return {
        FOLDER / f"{command.replace(' ', '-')}.json": json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        for command, document in found.items()
    }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path, text in files(schemas()).items():
        path.write_text(text, encoding="utf-8")
