"""What commands do with a model."""

from typing import Any, TypedDict

from json_documents.fields import with_fields
from pisr_core.profiling.speed import Speed
from pisr_core.results.table import Cell
from pisr_core.studies.study_report import VariantReport


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
