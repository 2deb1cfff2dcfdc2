"""A page of annotations that are likely to be wrong, the worst first."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from pisr_core.evaluation.example_pictures import Examples, pictures_of
from pisr_core.evaluation.examples import Example
from pisr_core.metrics.doubts import CONFIDENT, Doubt
from pisr_core.metrics.result import EvaluationResult
from pisr_core.results.page import Page
from pisr_core.structures import PanopticSegmentation

MARGIN = 0.5
"""Around a doubtful region, as a share of its longer side."""


def write_annotation_errors(path: Path, result: EvaluationResult, examples_of: Examples) -> None:
    """Writes a page with a table of the doubts, and a picture of each around what is doubtful.

    Args:
        path: the HTML file.
        result: has its details.
        examples_of: images to look at.

    Raises:
        OutputError: it cannot be written.
    """
    assert result.details is not None
    doubts, names = result.details.doubts, [category.name for category in result.categories]
    page = Page("Likely annotation errors")
    page.paragraph(
        f"Whole segments on which a prediction of score {CONFIDENT} or more disagrees with the annotation, the largest "
        "and most confident first. Either of the two may be right: look before you change an annotation."
    )
    rows = [(d.file_name, names[d.annotated], names[d.predicted], d.pixels, f"{d.score:.2f}") for d in doubts]
    page.table(("image", "annotated", "predicted", "pixels", "score"), rows, sortable=True)
    scores = {image.score.image_id: image.score for image in result.details.images}
    groups = [(scores[image_id], list(found)) for image_id, found in groupby(doubts, key=lambda doubt: doubt.image_id)]
    # Without images to look at there are no examples.
    for (_, found), example in zip(groups, examples_of([score for score, _ in groups]), strict=False):
        for doubt in found:
            title = f"{doubt.file_name}: {names[doubt.annotated]}, predicted as {names[doubt.predicted]}"
            pictures = pictures_of(_around(example, doubt), result.categories)
            page.pictures(title, {caption: pixels for caption, pixels in pictures.items() if caption != "mistaken"})
    page.write(path)


def _around(example: Example, doubt: Doubt) -> Example:
    """The part of an image in which the doubt lies; all of it where it is not found again."""
    region = _region(example, doubt)
    if not region.any():
        return example
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    margin = int(MARGIN * max(np.ptp(rows), np.ptp(columns))) + 8
    window = tuple(slice(max(0, int(found[0]) - margin), int(found[-1]) + margin + 1) for found in (rows, columns))
    image = None if example.image is None else np.ascontiguousarray(example.image[window])
    return replace(example, image=image, truth=_cut(example.truth, window), prediction=_cut(example.prediction, window))


def _region(example: Example, doubt: Doubt) -> Bool[np.ndarray, "H W"]:
    """What is annotated and predicted as the doubt says; a model that predicts once more may number segments anew."""
    ids = [segment.id for segment in example.prediction.segments if segment.category == doubt.predicted]
    return (example.truth.ids == doubt.segment) & np.isin(example.prediction.ids, ids)


def _cut(panoptic: PanopticSegmentation, window: tuple[slice, ...]) -> PanopticSegmentation:
    ids = np.ascontiguousarray(panoptic.ids[window])
    present = set(np.unique(ids).tolist())
    return PanopticSegmentation(ids, tuple(segment for segment in panoptic.segments if segment.id in present))
