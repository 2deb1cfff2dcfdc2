"""The paper's tables of results: quoted rows as data, trainable rows from the presets that stand for them."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from typing import Any

from pisr_core import presets
from pisr_core.config import PaperRow
from pisr_core.errors import ConfigError

TABLES = (1, 2, 3, 4, 5)
"""Their numbers."""


@dataclass(frozen=True)
class TableRow:
    """One line of a table.

    Attributes:
        printed: what the paper prints.
        preset: the preset that trains it, empty where the paper quotes other work.
        ours: whether the paper introduces it, a base with a relation.
    """

    printed: PaperRow
    preset: str = ""
    ours: bool = False


@dataclass(frozen=True)
class Table:
    """One table, its rows in the paper's order.

    Attributes:
        number: as in the paper.
        caption: what it shows.
        columns: names of the scores.
        rows: all of them.
    """

    number: int
    caption: str
    columns: tuple[str, ...]
    rows: tuple[TableRow, ...]


def load_table(number: int) -> Table:
    """A table of the paper.

    Raises:
        ConfigError: the paper has no such table of results.
    """
    if number not in TABLES:
        raise ConfigError(f"table {number}: the paper's tables of results are {', '.join(map(str, TABLES))}.")
    path = presets.folder() / "paper" / f"table{number}.toml"
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    rows = tuple(_row(number, row) for row in content["rows"])
    return Table(number, content["caption"], tuple(content["columns"]), rows)


def _row(number: int, row: dict[str, Any]) -> TableRow:
    """A quoted row as it is, or the row of this table (and split, where there are several) of a preset."""
    if "preset" not in row:
        return TableRow(PaperRow(number, **row))
    config = presets.load(row["preset"])
    (printed,) = (own for own in config.paper if own.table == number and own.split == row.get("split", own.split))
    return TableRow(printed, config.name, ours=config.relation.name != "none")
