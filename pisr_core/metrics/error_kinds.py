"""Which mistakes cost PQ: each wrong segment is of one kind, and is replaced by the truth for that kind alone.

The idea is that of TIDE (Bolya et al., ECCV 2020) for boxes. Everything is counted from an image's table of overlaps.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int

from pisr_core.metrics.overlaps import Overlaps
from pisr_core.metrics.panoptic_quality import COLUMNS, Matches, segment_iou

KINDS = {
    "class": "the right mask with another class",
    "stuff": "stuff taken for other stuff",
    "split": "one segment predicted as several",
    "merged": "several segments predicted as one",
    "mask": "the right class and place with an inexact mask",
    "missed": "not predicted at all",
    "made_up": "predicted where nothing of the kind is",
}
"""The kinds of mistakes and what they mean, in the order in which a segment is tried."""

MATCH = 0.5
"""IoU above which two segments match, whatever their classes; and the share of a segment that counts as most of it."""

NEAR = 0.1
"""IoU from which an inexact mask is still one of its segment, as in TIDE."""


@dataclass
class _Image:
    """One image's segments while their mistakes are named.

    Attributes:
        overlaps: the table.
        matches: which are right.
        stuff: which of the classes are stuff.
        iou: of each annotated and each predicted segment, whatever their classes.
        missed: annotated segments without a match that have no kind yet.
        superfluous: predicted ones, likewise.
        counts: what each kind adds to PQ's sums when it is mended, and how many segments it concerns.
    """

    overlaps: Overlaps
    matches: Matches
    stuff: Bool[np.ndarray, " classes"]
    iou: Float[np.ndarray, "t p"] = field(init=False)
    missed: Bool[np.ndarray, " t"] = field(init=False)
    superfluous: Bool[np.ndarray, " p"] = field(init=False)
    counts: dict[str, Float[np.ndarray, "classes 5"]] = field(init=False)

    def __post_init__(self) -> None:
        overlaps, right = self.overlaps, self.matches.iou > 0
        self.iou = segment_iou(overlaps) * ~overlaps.crowd[:, None]
        self.missed = ~overlaps.crowd & ~right.any(axis=1)
        self.superfluous = ~self.matches.ignored & ~right.any(axis=0)
        self.counts = {kind: np.zeros((len(self.stuff), len(COLUMNS) + 1)) for kind in KINDS}

    @property
    def judged_areas(self) -> Int[np.ndarray, " p"]:
        """Pixels of each predicted segment that are not on void."""
        return self.overlaps.predicted_areas - self.overlaps.on_void

    def find(self, true: int, kind: str, iou: float) -> None:
        """An annotated segment would be matched."""
        self.missed[true] = False
        self.counts[kind][self.overlaps.true_classes[true]] += (iou, 1, 0, -1, 1)

    def drop(self, predicted: int, kind: str, mistakes: int = 1) -> None:
        """A predicted segment would not be there; no mistake of its own where its annotated one counts already."""
        self.superfluous[predicted] = False
        self.counts[kind][self.overlaps.predicted_classes[predicted]] += (0, 0, -1, 0, mistakes)

    def improve(self, true: int, kind: str, gain: float, mistakes: int = 1) -> None:
        """A match would have a higher IoU."""
        self.counts[kind][self.overlaps.true_classes[true]] += (gain, 0, 0, 0, mistakes)

    def match_of(self, true: int) -> int | None:
        """The predicted segment that an annotated one matches."""
        return int(self.matches.iou[true].argmax()) if self.matches.iou[true].any() else None


def error_counts(
    overlaps: Overlaps, matches: Matches, stuff: Bool[np.ndarray, " classes"]
) -> Float[np.ndarray, "kinds classes 5"]:
    """What mending each kind of mistake in one image would add to PQ's sums.

    Args:
        overlaps: the image's table.
        matches: those of `match_segments`.
        stuff: which of the classes are stuff.

    Returns:
        In the order of `KINDS`, for each class: the columns `COLUMNS`, and the number of mistakes, each of which counts
        once, in the annotated class if it has one.
    """
    image = _Image(overlaps, matches, stuff)
    _wrong_classes(image)
    _splits(image)
    _mergers(image)
    _inexact_masks(image)
    _lone_stuff(image)
    for true in np.flatnonzero(image.missed).tolist():
        image.find(true, "missed", 1.0)
    for predicted in np.flatnonzero(image.superfluous).tolist():
        image.drop(predicted, "made_up")
    return np.stack(list(image.counts.values()))


def _wrong_classes(image: _Image) -> None:
    """IoU above 0.5 with a segment of another class: the class becomes right, the mask stays."""
    open_pairs = image.missed[:, None] & image.superfluous & (image.iou > MATCH)
    for true, predicted in zip(*(places.tolist() for places in np.nonzero(open_pairs)), strict=True):
        classes = image.overlaps.true_classes[true], image.overlaps.predicted_classes[predicted]
        kind = "stuff" if image.stuff[list(classes)].all() else "class"
        image.find(true, kind, image.iou[true, predicted])
        image.drop(predicted, kind, mistakes=0)


def _splits(image: _Image) -> None:
    """Several predictions that lie mostly on one segment of their class and match it together: they are joined."""
    overlaps = image.overlaps
    on_truth = overlaps.shared / np.maximum(image.judged_areas, 1)
    for true in np.flatnonzero(~overlaps.crowd).tolist():
        same = overlaps.predicted_classes == overlaps.true_classes[true]
        match = image.match_of(true)
        parts = np.flatnonzero(same & image.superfluous & (on_truth[true] > MATCH)).tolist()
        whole = parts if match is None else [*parts, match]
        if not parts or len(whole) < 2:
            continue
        shared, area = overlaps.shared[true, whole].sum(), image.judged_areas[whole].sum()
        iou = shared / (overlaps.true_areas[true] + area - shared)
        before = 0.0 if match is None else float(image.matches.iou[true, match])
        if iou <= max(MATCH, before):
            continue
        for part in parts:
            image.drop(part, "split", mistakes=0)
        if match is None:
            image.find(true, "split", iou)
        else:
            image.improve(true, "split", iou - before)


def _mergers(image: _Image) -> None:
    """One prediction that covers most of several segments of its class: it is cut along the truth."""
    overlaps = image.overlaps
    covered = overlaps.shared / np.maximum(overlaps.true_areas, 1)[:, None]
    for predicted in np.flatnonzero(~image.matches.ignored).tolist():
        same = overlaps.true_classes == overlaps.predicted_classes[predicted]
        parts = np.flatnonzero(same & image.missed & (covered[:, predicted] > MATCH)).tolist()
        matched = np.flatnonzero(image.matches.iou[:, predicted]).tolist()
        free = bool(matched) or bool(image.superfluous[predicted])
        if not parts or len(parts) + len(matched) < 2 or not free:
            continue
        for true in parts:
            image.find(true, "merged", covered[true, predicted])
        for true in matched:
            gain = covered[true, predicted] - image.matches.iou[true, predicted]
            image.improve(true, "merged", gain, mistakes=0)
        if not matched:
            image.drop(predicted, "merged", mistakes=0)


def _inexact_masks(image: _Image) -> None:
    """Pairs of one class, matched or near enough and each other's best: the mask becomes that of the truth.

    Of stuff whose mask is wrong mostly where other stuff is annotated or predicted, only those pixels move.
    """
    overlaps = image.overlaps
    same = overlaps.true_classes[:, None] == overlaps.predicted_classes
    near = np.where(same & image.missed[:, None] & image.superfluous, image.iou, 0.0)
    best = (near >= NEAR) & (near == near.max(axis=0, initial=0)) & (near == near.max(axis=1, initial=0, keepdims=True))
    for true, predicted in zip(*(places.tolist() for places in np.nonzero(image.matches.iou)), strict=True):
        kind, iou = _mended(image, true, predicted)
        if iou > image.matches.iou[true, predicted]:
            image.improve(true, kind, iou - image.matches.iou[true, predicted])
    for true, predicted in zip(*(places.tolist() for places in np.nonzero(best)), strict=True):
        if image.missed[true] and image.superfluous[predicted]:
            kind, iou = _mended(image, true, predicted)
            image.find(true, kind, iou)
            image.drop(predicted, kind, mistakes=0)


def _mended(image: _Image, true: int, predicted: int) -> tuple[str, float]:
    """The kind of a pair's inexact mask, and the IoU that it has when that is mended."""
    shared = int(image.overlaps.shared[true, predicted])
    area, judged = int(image.overlaps.true_areas[true]), int(image.judged_areas[predicted])
    wrong = area + judged - 2 * shared
    lost, gained = _confused(image, true, predicted)
    confused = lost + gained
    if confused > MATCH * wrong and (shared + lost) / (area + judged - shared - gained) > MATCH:
        return "stuff", (shared + lost) / (area + judged - shared - gained)
    return "mask", 1.0


def _confused(image: _Image, true: int, predicted: int) -> tuple[int, int]:
    """Pixels of an annotated stuff segment that are predicted as other stuff, and the other way round."""
    overlaps, kind = image.overlaps, image.overlaps.true_classes[true]
    if not image.stuff[kind]:
        return 0, 0
    other_predicted = image.stuff[overlaps.predicted_classes] & (overlaps.predicted_classes != kind)
    other_annotated = image.stuff[overlaps.true_classes] & (overlaps.true_classes != kind)
    return int(overlaps.shared[true, other_predicted].sum()), int(overlaps.shared[other_annotated, predicted].sum())


def _lone_stuff(image: _Image) -> None:
    """Stuff without a partner of its class, most of which is other stuff: it is found there, or was never there."""
    overlaps = image.overlaps
    annotated, predicted = image.stuff[overlaps.true_classes], image.stuff[overlaps.predicted_classes]
    different = overlaps.true_classes[:, None] != overlaps.predicted_classes
    confused = overlaps.shared * (different & annotated[:, None] & predicted)
    lost = confused.sum(axis=1) / np.maximum(overlaps.true_areas, 1)
    gained = confused.sum(axis=0) / np.maximum(image.judged_areas, 1)
    for true in np.flatnonzero(image.missed & (lost > MATCH)).tolist():
        image.find(true, "stuff", lost[true])
    for place in np.flatnonzero(image.superfluous & (gained > MATCH)).tolist():
        image.drop(place, "stuff")
