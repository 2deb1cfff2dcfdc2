"""What `pisr eval` gives: tables, JSON and files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pisr_cli.terminal.console import print_json, results, say, score, score_table

if TYPE_CHECKING:
    from pisr_core.evaluation.example_pictures import Examples
    from pisr_core.metrics.result import EvaluationResult
    from pisr_core.results.against import AgainstResult
    from pisr_core.results.comparison import Comparison
    from pisr_core.results.table import Cell, ResultsTable


@dataclass
class Outcome:
    """Of one evaluation.

    Attributes:
        result: the scores, `None` of images without annotations.
        facts: what was evaluated, and how.
        comparisons: the paper's tables.
        examples_of: images to look at.
        archives: files to upload.
        against: the comparison with another model.
    """

    result: EvaluationResult | None
    facts: Mapping[str, Any]
    comparisons: list[Comparison] = field(default_factory=list)
    examples_of: Examples | None = None
    archives: list[Path] = field(default_factory=list)
    against: AgainstResult | None = None


def deliver(outcome: Outcome, out: Path | None, as_json: bool) -> None:
    """Prints the results and writes the files that were asked for."""
    if outcome.result is not None and out is not None:
        from pisr_core.evaluation.report import write_report

        assert outcome.examples_of is not None
        comparisons, examples_of = outcome.comparisons, outcome.examples_of
        write_report(out, outcome.result, outcome.facts, comparisons, examples_of, outcome.against)
        say(f"report: {out / 'report.html'}")
    for path in outcome.archives:
        say(f"to upload: {path}")
    if as_json:
        print_json(_document(outcome))
    elif outcome.result is not None:
        _show(outcome.result, outcome.comparisons)
        if outcome.against is not None:
            _show_against(outcome.against)


def _document(outcome: Outcome) -> dict[str, Any]:
    document = {} if outcome.result is None else outcome.result.to_json()
    if outcome.comparisons:
        document["comparisons"] = [asdict(comparison) for comparison in outcome.comparisons]
    if outcome.against is not None:
        document["against"] = outcome.against.to_json()
    if outcome.archives:
        document["archives"] = [str(path) for path in outcome.archives]
    return document


def _show(result: EvaluationResult, comparisons: list[Comparison]) -> None:
    from pisr_core.results.scores import class_table, cost_table, group_table

    _show_table("Classes", class_table(result))
    _show_table("Panoptic quality", group_table(result))
    if result.details is not None:
        _show_table(
            "What costs PQ: points, each kind of mistake replaced by the truth alone", cost_table(result.details)
        )
    semantic, instance = result.semantic, result.instance
    if semantic is not None:
        line = f"mIoU {score(semantic.miou)}, pixel accuracy {score(semantic.pixel_accuracy)}"
        if semantic.iiou_per_class is not None:
            line += f", iIoU {score(semantic.iiou)} (of categories {score(semantic.iiou_categories)})"
        results.print(line)
    if instance is not None:
        scores = {"AP": instance.ap, "AP50": instance.ap50, "AP75": instance.ap75}
        sizes = {"small": instance.ap_small, "medium": instance.ap_medium, "large": instance.ap_large}
        results.print(", ".join(f"{name} {score(ap)}" for name, ap in (scores | sizes).items() if ap is not None))
    for comparison in comparisons:
        _show_comparison(comparison)
    results.print(f"{result.images} images in {result.seconds:.1f} s")


def _show_against(against: AgainstResult) -> None:
    from pisr_core.results.scores import against_table

    _show_table(f"Against {against.path}: PQ, and the 95 % interval of the difference", against_table(against))
    for image in against.images[:5]:
        results.print(f"{image.score.file_name}: PQ {score(image.score.pq)}, against {score(image.against)}")


def _show_table(title: str, table: ResultsTable) -> None:
    shown = score_table(title, table.columns)
    for row in table.rows:
        shown.add_row(*map(_text, row.values()))
    results.print(shown)


def _show_comparison(comparison: Comparison) -> None:
    table = score_table(f"Table {comparison.table} of the paper: {comparison.caption}", ("method", *comparison.columns))
    lines, ours = comparison.lines()
    for number, line in enumerate(lines):
        table.add_row(*map(_text, line), style="bold" if number in ours else None)
    results.print(table)


def _text(cell: Cell) -> str:
    return score(cell) if cell is None or isinstance(cell, float) else str(cell)
