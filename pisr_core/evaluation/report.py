"""The files that an evaluation leaves: scores for machines, a table, and a page to look at."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pisr_core.evaluation.annotation_errors import write_annotation_errors
from pisr_core.evaluation.example_pictures import Examples, number_or_dash, pictures_of
from pisr_core.evaluation.examples import Example
from pisr_core.metrics.details import DetailedResult
from pisr_core.metrics.result import EvaluationResult
from pisr_core.results.against import AgainstResult
from pisr_core.results.comparison import Comparison
from pisr_core.results.page import Page
from pisr_core.results.plot import draw_confusion
from pisr_core.results.scores import (
    NOTHING,
    against_table,
    class_table,
    cost_table,
    frequent_mixups,
    group_table,
    headline,
)
from pisr_core.results.table import Cell
from pisr_core.runtime.atomic import written_whole
from pisr_core.structures import Category


def write_report(
    folder: Path,
    result: EvaluationResult,
    facts: Mapping[str, Cell],
    comparisons: Sequence[Comparison] = (),
    examples_of: Examples = lambda scores: (),
    against: AgainstResult | None = None,
) -> None:
    """Writes `scores.json`, `per_class.csv` and `report.html`, which holds all that it shows.

    Where the result has its details, these are in the first, and `annotation_errors.html` shows likely wrong
    annotations.

    Args:
        folder: is made when it is missing.
        result: the scores.
        facts: what was evaluated, and how.
        comparisons: the paper's tables.
        examples_of: images to look at.
        against: the comparison with another model.

    Raises:
        OutputError: a file cannot be written.
    """
    with written_whole(folder / "scores.json") as part:
        part.write_text(json.dumps(_document(result, facts, against), indent=1), encoding="utf-8")
    class_table(result).write_csv(folder / "per_class.csv")
    page = Page("Evaluation")
    page.cards(headline(result))
    _add_scores(page, result)
    if result.details is not None:
        _add_costs(page, result.details)
    for comparison in comparisons:
        _add_comparison(page, comparison)
    if against is not None:
        _add_against(page, against, examples_of)
    _add_confusion(page, result)
    _add_examples(page, examples_of(result.worst), result.categories)
    page.heading("What was evaluated")
    page.table(("", "value"), [(name, str(value)) for name, value in facts.items()])
    page.write(folder / "report.html")
    if result.details is not None:
        write_annotation_errors(folder / "annotation_errors.html", result, examples_of)


def _document(result: EvaluationResult, facts: Mapping[str, Cell], against: AgainstResult | None) -> dict[str, Any]:
    compared = {} if against is None else {"against": against.to_json()}
    return {**result.to_json(), **compared, "run": dict(facts), **result.details_to_json()}


def _add_scores(page: Page, result: EvaluationResult) -> None:
    groups, classes = group_table(result), class_table(result)
    page.heading("Panoptic quality")
    page.table(groups.columns, [list(row.values()) for row in groups.rows])
    page.heading("Classes")
    page.paragraph("A click on a column sorts by it. TP, FP and FN are matched, superfluous and missed segments.")
    bars = [column for column in ("PQ", "IoU", "AP") if column in classes.columns]
    page.table(classes.columns, [list(row.values()) for row in classes.rows], bars, sortable=True)


def _add_costs(page: Page, details: DetailedResult) -> None:
    costs = cost_table(details)
    page.heading("What costs PQ")
    page.paragraph(
        "Points that PQ gains when one kind of mistake is replaced by the truth and all others stay. Each wrong "
        "segment is of one kind; the points need not add up to 100. Likely wrong annotations: annotation_errors.html."
    )
    page.table(costs.columns, [list(row.values()) for row in costs.rows], ("PQ", "PQ_th", "PQ_st"))


def _add_against(page: Page, against: AgainstResult, examples_of: Examples) -> None:
    table = against_table(against)
    page.heading("Against another model")
    page.paragraph(
        f"{against.path}: PQ on the same images, the difference, and its 95 % interval by a paired bootstrap over "
        "images. The last column says where the interval lies on one side of zero."
    )
    page.table(table.columns, [list(row.values()) for row in table.rows], ("PQ", "against"), sortable=True)
    for image, example in zip(against.images, examples_of([i.score for i in against.images]), strict=False):
        title = f"{image.score.file_name}: PQ {number_or_dash(image.score.pq)}, against {number_or_dash(image.against)}"
        page.pictures(title, pictures_of(example, against.categories))


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
        title = f"{score.file_name}: PQ {number_or_dash(score.pq)}, {share:.0f} % of the pixels mistaken"
        page.pictures(title, pictures_of(example, categories))
