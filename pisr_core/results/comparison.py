"""Scores of an evaluation beside the rows that the paper prints."""

from __future__ import annotations

from dataclasses import dataclass

from pisr_core import presets
from pisr_core.config import Config
from pisr_core.errors import ConfigError
from pisr_core.metrics.result import EvaluationResult
from pisr_core.paper import TableRow, load_table
from pisr_core.results.scores import headline
from pisr_core.results.table import Cell


@dataclass(frozen=True)
class ComparedRow:
    """One line.

    Attributes:
        method: as the paper prints it, with its backbone.
        preset: the preset that stands for it, empty for work that the paper quotes.
        paper: the printed scores by column.
        ours: the scores of the evaluation, on the line of its own preset only.
    """

    method: str
    preset: str
    paper: dict[str, float]
    ours: dict[str, float | None] | None = None


@dataclass(frozen=True)
class Comparison:
    """A table of the paper with the evaluation's scores in it.

    Attributes:
        table: its number.
        caption: as in the paper.
        columns: the scores that are compared.
        rows: the rows of the same dataset and split, in the paper's order.
    """

    table: int
    caption: str
    columns: tuple[str, ...]
    rows: tuple[ComparedRow, ...]

    def lines(self) -> tuple[list[list[Cell]], list[int]]:
        """Cells of a table, ours and the difference below the paper's, and the positions of the lines that are ours."""
        lines: list[list[Cell]] = []
        ours = []
        for row in self.rows:
            lines.append([row.method, *map(row.paper.get, self.columns)])
            if row.ours is None:
                continue
            differences = [_difference(row.ours[column], row.paper.get(column)) for column in self.columns]
            ours.append(len(lines))
            lines.append([f"→ {row.preset} here", *map(row.ours.get, self.columns)])
            lines.append(["→ difference", *differences])
        return lines, ours


def _difference(ours: float | None, paper: float | None) -> str | None:
    return None if ours is None or paper is None else f"{ours - paper:+.1f}"


def tables_to_compare(config: Config, dataset: str, split: str) -> list[int]:
    """The paper's tables in which a model's preset stands.

    Args:
        config: the model's, which says which rows its preset stands for.
        dataset: what is evaluated.
        split: likewise.

    Raises:
        ConfigError: the paper prints no row of this preset on this dataset and split.
    """
    tables = [row.table for row in config.paper if row.split == split and config.data.dataset == dataset]
    if not tables:
        raise ConfigError(
            f"the paper prints no row of {config.name or 'this model'} on {dataset} {split}. "
            "`pisr presets` lists the rows that each preset stands for."
        )
    return list(dict.fromkeys(tables))


def compare(config: Config, dataset: str, split: str, result: EvaluationResult) -> list[Comparison]:
    """Those tables, each with the model's own scores. Arguments and errors as above."""
    scores = headline(result)
    return [_comparison(number, config, split, scores) for number in tables_to_compare(config, dataset, split)]


def _comparison(number: int, config: Config, split: str, scores: dict[str, float | None]) -> Comparison:
    table = load_table(number)
    columns = tuple(column for column in table.columns if column in scores)
    rows = []
    for row in table.rows:
        if row.printed.split != split or _dataset(row, config) != config.data.dataset:
            continue
        paper = {column: row.printed.scores[column] for column in columns if column in row.printed.scores}
        ours = {column: scores[column] for column in columns} if row.preset == config.name else None
        rows.append(ComparedRow(f"{row.printed.row}, {row.printed.backbone}", row.preset, paper, ours))
    return Comparison(number, table.caption, columns, tuple(rows))


def _dataset(row: TableRow, config: Config) -> str:
    """Of quoted rows nobody needs to know: they stand in tables of one dataset."""
    return presets.load(row.preset).data.dataset if row.preset else config.data.dataset
