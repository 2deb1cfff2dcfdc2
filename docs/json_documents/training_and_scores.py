"""Training and its scores."""

from typing import NotRequired, TypedDict

from pisr_core.metrics.panoptic_quality import ClassQuality, GroupQuality
from pisr_core.results.against import Difference
from pisr_core.results.comparison import Comparison
from pisr_core.weights.fitting import ClassMatch


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
