"""Two models on the same images: how much PQ lies between them, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from pisr_core.data.coco.entries import show
from pisr_core.data.coco.json_files import load_json
from pisr_core.errors import DataError
from pisr_core.metrics.details import ImageCounts
from pisr_core.metrics.panoptic_quality import COLUMNS
from pisr_core.metrics.result import EvaluationResult
from pisr_core.metrics.worst import ImageScore
from pisr_core.structures import Category

RESAMPLES = 1000
"""Of the images, with replacement."""

AT_ONCE = 50
"""Resamples whose sums are in memory."""

SEED = 0

INTERVAL = (2.5, 97.5)
"""Percentiles of the resamples' differences that its ends are."""

GROUPS = ("all", "things", "stuff")

SHOWN = 12
"""Images that differ most."""


@dataclass(frozen=True)
class Difference:
    """PQ of a class or of a group of classes, 0–100; `None` where it does not occur.

    Attributes:
        pq: of the model that is evaluated.
        against: of the other one.
        difference: the first less the second.
        low: lower end of the difference's 95 % interval, by a paired bootstrap over images.
        high: its upper end.
    """

    pq: float | None
    against: float | None
    difference: float | None
    low: float | None
    high: float | None

    @property
    def clear(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return self.low is not None and self.high is not None and self.low * self.high > 0


@dataclass(frozen=True)
class ImageDifference:
    """An image that both models saw.

    Attributes:
        score: how it came out here.
        against: its PQ with the other model; `None` without any segment.
    """

    score: ImageScore
    against: float | None

    @property
    def size(self) -> float:
        """How far the two are apart."""
        return abs((self.score.pq or 0.0) - (self.against or 0.0))


@dataclass(frozen=True)
class AgainstResult:
    """The comparison.

    Attributes:
        path: scores of the other model.
        categories: the dataset's.
        groups: all, things and stuff.
        per_class: in the order of the categories.
        images: those that differ most, the largest difference first.
    """

    path: Path
    categories: tuple[Category, ...]
    groups: dict[str, Difference]
    per_class: tuple[Difference, ...]
    images: tuple[ImageDifference, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain values; classes are keyed by their category id as text."""
        classes = zip(self.categories, self.per_class, strict=True)
        return {
            "scores": str(self.path),
            "resamples": RESAMPLES,
            **{name: asdict(difference) for name, difference in self.groups.items()},
            "per_class": {str(category.id): asdict(difference) for category, difference in classes},
            "per_image": [
                {"image_id": i.score.image_id, "file_name": i.score.file_name, "pq": i.score.pq, "against": i.against}
                for i in self.images
            ],
        }


@dataclass(frozen=True)
class OtherScores:
    """What the `scores.json` of another evaluation tells of each image.

    Attributes:
        path: the file.
        classes: ids and names of the dataset's classes.
        images: PQ, and the columns `COLUMNS` by category id, of each image id.
    """

    path: Path
    classes: list[tuple[int, str]]
    images: dict[int | str, tuple[float | None, dict[int, list[float]]]]


def read_scores(path: Path) -> OtherScores:
    """Reads the `scores.json` of an evaluation.

    Raises:
        DataError: the file is missing, no such file, or without scores of single images.
    """
    document = load_json(path)
    try:
        if "per_image" not in document:
            raise DataError(f"{path}: has no scores of single images. Evaluate that model again with --out.")
        classes = [(int(entry["id"]), str(entry["name"])) for entry in document["categories"]]
        images = {}
        for entry in document["per_image"]:
            counts = {int(number): [float(value) for value in row] for number, row in entry["classes"].items()}
            if any(len(row) != len(COLUMNS) for row in counts.values()) or counts.keys() - {i for i, _ in classes}:
                raise ValueError(f"counts of image {entry['image_id']!r}")
            images[entry["image_id"]] = (None if entry["pq"] is None else float(entry["pq"]), counts)
        return OtherScores(path, classes, images)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path}: is no scores.json of pisr eval ({show(error)}). Evaluate that model again with --out."
        ) from error


def compare_with(other: OtherScores, result: EvaluationResult) -> AgainstResult:
    """Compares an evaluation, which has its details, with another one.

    Raises:
        DataError: they are of other images or classes.
    """
    assert result.details is not None
    images, categories = result.details.images, result.categories
    if not images:
        raise DataError(f"{other.path}: there is nothing to compare, for no image was evaluated. Choose another split.")
    _check_same(other.path, "classes", other.classes, [(category.id, category.name) for category in categories])
    _check_same(other.path, "images", list(other.images), [image.score.image_id for image in images])
    theirs = [other.images[image.score.image_id] for image in images]
    stuff = np.array([not category.isthing for category in categories])
    groups, per_class = _differences(_table(images, len(categories)), _other_table(theirs, categories), stuff)
    differences = [ImageDifference(image.score, pq) for image, (pq, _) in zip(images, theirs, strict=True)]
    apart = sorted((image for image in differences if image.size > 0), key=lambda image: -image.size)
    return AgainstResult(other.path, categories, groups, per_class, tuple(apart[:SHOWN]))


def _table(images: Sequence[ImageCounts], num_classes: int) -> Float[np.ndarray, "n classes 4"]:
    table = np.zeros((len(images), num_classes, len(COLUMNS)))
    for row, image in zip(table, images, strict=True):
        row[image.classes] = image.counts
    return table


def _other_table(
    images: Sequence[tuple[float | None, dict[int, list[float]]]], categories: Sequence[Category]
) -> Float[np.ndarray, "n classes 4"]:
    places = {category.id: place for place, category in enumerate(categories)}
    table = np.zeros((len(images), len(categories), len(COLUMNS)))
    for row, (_, counts) in zip(table, images, strict=True):
        for category_id, values in counts.items():
            row[places[category_id]] = values
    return table


def _check_same(path: Path, what: str, theirs: Sequence[Any], ours: Sequence[Any]) -> None:
    only_here, only_there = set(ours) - set(theirs), set(theirs) - set(ours)
    if only_here or only_there:
        example = min(only_here or only_there, key=str)
        raise DataError(
            f"{path}: is of other {what}: {len(only_here)} are here alone and {len(only_there)} there alone, such as "
            f"{show(example)}. Evaluate both models on the same dataset and split."
        )


def _differences(
    ours: Float[np.ndarray, "n classes 4"],
    theirs: Float[np.ndarray, "n classes 4"],
    stuff: Bool[np.ndarray, " classes"],
) -> tuple[dict[str, Difference], tuple[Difference, ...]]:
    """Of the groups and of the classes. Both models see the same resamples, so that what is hard for both cancels."""
    count, generator = len(ours), np.random.default_rng(SEED)
    pairs = np.stack([ours, theirs], axis=1).reshape(count, -1)
    shape = (-1, 2, *ours.shape[1:])
    whole = _quality(pairs.sum(axis=0).reshape(shape), stuff)
    resampled = []
    for _ in range(0, RESAMPLES, AT_ONCE):
        weights = generator.multinomial(count, np.full(count, 1 / count), size=AT_ONCE).astype(np.float64)
        resampled.append(_quality((weights @ pairs).reshape(shape), stuff))
    apart = np.concatenate(resampled)
    apart = apart[:, 0] - apart[:, 1]
    found = []
    for place, (pq, against) in enumerate(whole[0].T.tolist()):
        values = apart[:, place][~np.isnan(apart[:, place])]
        known = not np.isnan(pq) and not np.isnan(against) and values.size > 0
        low, high = np.percentile(values, INTERVAL).tolist() if known else (None, None)
        found.append(Difference(_or_none(pq), _or_none(against), pq - against if known else None, low, high))
    return dict(zip(GROUPS, found, strict=False)), tuple(found[len(GROUPS) :])


def _quality(
    sums: Float[np.ndarray, "r 2 classes 4"], stuff: Bool[np.ndarray, " classes"]
) -> Float[np.ndarray, "r 2 groups_and_classes"]:
    """PQ of all classes, things and stuff, and then of each class; NaN where none occurs."""
    iou, tp, fp, fn = np.moveaxis(sums, -1, 0)
    weight = tp + 0.5 * fp + 0.5 * fn
    pq = np.where(weight > 0, 100 * iou / np.where(weight > 0, weight, 1), np.nan)
    groups = [_mean(pq), _mean(pq[..., ~stuff]), _mean(pq[..., stuff])]
    return np.concatenate([np.stack(groups, axis=-1), pq], axis=-1)


def _mean(pq: Float[np.ndarray, "r 2 classes"]) -> Float[np.ndarray, "r 2"]:
    occurs = ~np.isnan(pq)
    number = occurs.sum(axis=-1)
    return np.where(number > 0, np.where(occurs, pq, 0).sum(axis=-1) / np.maximum(number, 1), np.nan)


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value
