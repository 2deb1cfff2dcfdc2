"""An evaluation's scores as tables: what the terminal, the CSV and the HTML report show alike."""

from __future__ import annotations

from dataclasses import dataclass

from pisr_core.metrics.details import DetailedResult
from pisr_core.metrics.error_kinds import KINDS
from pisr_core.metrics.result import EvaluationResult
from pisr_core.results.against import AgainstResult
from pisr_core.results.table import Cell, ResultsTable

NOTHING = "nothing"
"""Stands for void among predicted classes, and for no annotated segment among annotated ones."""


def headline(result: EvaluationResult) -> dict[str, float | None]:
    """The scores that papers print, 0–100, by the names of their columns; those that were not counted are left out."""
    panoptic, semantic, instance = result.panoptic, result.semantic, result.instance
    scores: dict[str, float | None] = {
        "PQ": panoptic.all.pq,
        "SQ": panoptic.all.sq,
        "RQ": panoptic.all.rq,
        "PQ_th": panoptic.things.pq,
        "PQ_st": panoptic.stuff.pq,
    }
    if semantic is not None:
        scores["mIoU"] = semantic.miou
        if semantic.iiou_per_class is not None:
            scores["iIoU"] = semantic.iiou
    if instance is not None:
        scores |= {"AP": instance.ap, "AP50": instance.ap50}
    return scores


def group_table(result: EvaluationResult) -> ResultsTable:
    """PQ, SQ and RQ of all classes, of the things and of the stuff."""
    table = ResultsTable(("classes", "PQ", "SQ", "RQ", "number"))
    for name in ("all", "things", "stuff"):
        group = getattr(result.panoptic, name)
        table.add({"classes": name, "PQ": group.pq, "SQ": group.sq, "RQ": group.rq, "number": group.n})
    return table


def class_table(result: EvaluationResult) -> ResultsTable:
    """One row for each class; what a class has no score of is empty, what was not counted has no column."""
    semantic, instance = result.semantic, result.instance
    counted = {"IoU": semantic.per_class} if semantic is not None else {}
    if semantic is not None and semantic.iiou_per_class is not None:
        counted["iIoU"] = semantic.iiou_per_class
    if instance is not None:
        counted |= {"AP": instance.per_class, "AP50": instance.per_class_ap50}
    table = ResultsTable(("class", "kind", "PQ", "SQ", "RQ", *counted, "TP", "FP", "FN"))
    for index, (category, quality) in enumerate(zip(result.categories, result.panoptic.per_class, strict=True)):
        row: dict[str, Cell] = {"class": category.name, "kind": "thing" if category.isthing else "stuff"}
        if quality.occurs:
            row |= {"PQ": quality.pq, "SQ": quality.sq, "RQ": quality.rq}
        row |= {"TP": quality.tp, "FP": quality.fp, "FN": quality.fn}
        table.add(row | {name: per_class[index] for name, per_class in counted.items()})
    return table


def cost_table(details: DetailedResult) -> ResultsTable:
    """One row for each kind of mistake: the PQ that it costs, of all classes, things and stuff."""
    table = ResultsTable(("mistake", "PQ", "PQ_th", "PQ_st", "number", "what it is"))
    for cost in details.costs:
        points = {"PQ": cost.all, "PQ_th": cost.things, "PQ_st": cost.stuff}
        name = cost.kind.replace("_", " ")
        table.add({"mistake": name, **points, "number": cost.mistakes, "what it is": KINDS[cost.kind]})
    return table


def against_table(against: AgainstResult) -> ResultsTable:
    """One row for each group of classes and for each class that both models' images have."""
    table = ResultsTable(("class", "PQ", "against", "difference", "low", "high", "clear"))
    names = [*against.groups, *(category.name for category in against.categories)]
    for name, found in zip(names, (*against.groups.values(), *against.per_class), strict=True):
        if found.difference is not None:
            clear = "" if not found.clear else "better" if found.difference > 0 else "worse"
            row: dict[str, Cell] = {"class": name, "PQ": found.pq, "against": found.against}
            table.add(row | {"difference": found.difference, "low": found.low, "high": found.high, "clear": clear})
    return table


@dataclass(frozen=True)
class Mixup:
    """A frequent mistake.

    Attributes:
        annotated: the class as annotated, or `NOTHING`.
        predicted: the class that covers most of it, or `NOTHING`.
        segments: how many.
        share: percentage of the annotated class's segments; `None` for `NOTHING`.
    """

    annotated: str
    predicted: str
    segments: int
    share: float | None


def frequent_mixups(result: EvaluationResult, limit: int = 12) -> list[Mixup]:
    """The pairs of different classes with the most segments."""
    names = [*(category.name for category in result.categories), NOTHING]
    counts = result.confusion.counts
    cells = [(count, a, b) for (a, b), count in sorted(counts.items()) if a != b]
    mixups = []
    for count, a, b in sorted(cells, key=lambda cell: -cell[0])[:limit]:
        annotated = sum(number for (row, _), number in counts.items() if row == a)
        share = 100 * count / annotated if a < len(result.categories) else None
        mixups.append(Mixup(names[a], names[b], count, share))
    return mixups
