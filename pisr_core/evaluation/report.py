"""The files that an evaluation leaves: scores for machines, a table, and a page to look at."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from pisr_core.evaluation.examples import Example
from pisr_core.metrics.result import EvaluationResult
from pisr_core.results.comparison import Comparison
from pisr_core.results.page import Page
from pisr_core.results.plot import draw_confusion
from pisr_core.results.scores import NOTHING, class_table, frequent_mixups, group_table, headline
from pisr_core.results.table import Cell
from pisr_core.runtime.atomic import written_whole
from pisr_core.structures import Category, PanopticSegmentation
from pisr_core.visualization.mistakes import draw_mistakes, mistaken_pixels
from pisr_core.visualization.overlay import colorize, overlay

LONG_SIDE = 640
"""Of the pictures, pixels, so that a report stays small."""


def write_report(
    folder: Path,
    result: EvaluationResult,
    facts: Mapping[str, Cell],
    comparisons: Sequence[Comparison] = (),
    examples: Iterable[Example] = (),
) -> None:
    """Writes `scores.json`, `per_class.csv` and `report.html`, which holds all that it shows.

    Args:
        folder: is made when it is missing.
        result: the scores.
        facts: what was evaluated, and how.
        comparisons: the paper's tables.
        examples: the images with the largest mistakes.

    Raises:
        OutputError: a file cannot be written.
    """
    with written_whole(folder / "scores.json") as part:
        part.write_text(json.dumps({**result.to_json(), "run": dict(facts)}, indent=2), encoding="utf-8")
    class_table(result).write_csv(folder / "per_class.csv")
    page = Page("Evaluation")
    page.cards(headline(result))
    _add_scores(page, result)
    for comparison in comparisons:
        _add_comparison(page, comparison)
    _add_confusion(page, result)
    _add_examples(page, examples, result.categories)
    page.heading("What was evaluated")
    page.table(("", "value"), [(name, str(value)) for name, value in facts.items()])
    page.write(folder / "report.html")


def _add_scores(page: Page, result: EvaluationResult) -> None:
    groups, classes = group_table(result), class_table(result)
    page.heading("Panoptic quality")
    page.table(groups.columns, [list(row.values()) for row in groups.rows])
    page.heading("Classes")
    page.paragraph("A click on a column sorts by it. TP, FP and FN are matched, superfluous and missed segments.")
    bars = [column for column in ("PQ", "IoU", "AP") if column in classes.columns]
    page.table(classes.columns, [list(row.values()) for row in classes.rows], bars, sortable=True)


def _add_comparison(page: Page, comparison: Comparison) -> None:
    page.heading(f"Beside the paper's Table {comparison.table}")
    rows, strong = comparison.lines()
    page.table(("method", *comparison.columns), rows, strong=strong)


def _add_confusion(page: Page, result: EvaluationResult) -> None:
    names = [*(category.name for category in result.categories), NOTHING]
    occurring = sorted({*result.confusion.classes(), len(result.categories)})
    picture = draw_confusion(result.confusion.table(occurring), [names[position] for position in occurring])
    page.heading("Which segments are taken for which")
    page.paragraph(
        "Each annotated segment counts once, for the predicted segment that covers most of it. The last row is for "
        "predicted segments that cover most of none. Colours are shares of the row; classes that do not occur are left "
        "out."
    )
    page.picture(picture, lossless=True)
    mixups = frequent_mixups(result)
    if mixups:
        page.table(
            ("annotated", "predicted", "segments", "% of the class"),
            [(mixup.annotated, mixup.predicted, mixup.segments, mixup.share) for mixup in mixups],
        )


def _add_examples(page: Page, examples: Iterable[Example], categories: Sequence[Category]) -> None:
    for number, example in enumerate(examples):
        if number == 0:
            page.heading("The largest mistakes")
            page.paragraph("Red pixels are in no pair of matching segments; crowds and void are not judged.")
        score = example.score
        share = 100 * score.mistaken_pixels / score.annotated_pixels
        quality = "–" if score.pq is None else f"{score.pq:.1f}"
        page.pictures(
            f"{score.file_name}: PQ {quality}, {share:.0f} % of the pixels mistaken", _pictures(example, categories)
        )


def _pictures(example: Example, categories: Sequence[Category]) -> dict[str, UInt8[np.ndarray, "h w 3"]]:
    height, width = example.truth.ids.shape
    factor = min(1.0, LONG_SIDE / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    mistaken = mistaken_pixels(example.prediction, example.truth).astype(np.uint8)
    truth, prediction = _shrunk(example.truth, size), _shrunk(example.prediction, size)
    # Any mistaken pixel of those that one pixel of the picture stands for is shown: small ones survive.
    red = cv2.resize(mistaken * 255, size, interpolation=cv2.INTER_AREA) > 0
    if example.image is None:
        blank = np.full((size[1], size[0], 3), 255, np.uint8)
        pictures = {"annotated": colorize(truth, categories), "predicted": colorize(prediction, categories)}
        return {**pictures, "mistaken": draw_mistakes(blank, red)}
    image = cv2.resize(example.image, size, interpolation=cv2.INTER_AREA)
    return {
        "image": image,
        "annotated": overlay(image, truth, categories),
        "predicted": overlay(image, prediction, categories),
        "mistaken": draw_mistakes(image, red),
    }


def _shrunk(panoptic: PanopticSegmentation, size: tuple[int, int]) -> PanopticSegmentation:
    ids = cv2.resize(panoptic.ids, size, interpolation=cv2.INTER_NEAREST)
    return PanopticSegmentation(ids, panoptic.segments)
