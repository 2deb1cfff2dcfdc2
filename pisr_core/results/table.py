"""A table of results that grows row by row and survives interruptions."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pisr_core.errors import DataError
from pisr_core.runtime.atomic import written_whole

Cell = str | int | float | bool | None
"""What a cell holds; `None` is an empty one."""

LARGEST = 1e300
"""Numbers beyond it are none that anything here writes."""


@dataclass
class ResultsTable:
    """Rows of named values.

    Attributes:
        columns: their names, in order.
        rows: one mapping each, of all columns.
    """

    columns: tuple[str, ...]
    rows: list[dict[str, Cell]] = field(default_factory=list)

    def add(self, row: Mapping[str, Cell]) -> None:
        """Adds a row; columns that it leaves out stay empty.

        Raises:
            ValueError: it has a column that the table lacks.
        """
        strange = row.keys() - set(self.columns)
        if strange:
            raise ValueError(f"columns {sorted(strange)} are not in {self.columns}")
        self.rows.append({name: row.get(name) for name in self.columns})

    def find(self, **key: Cell) -> dict[str, Cell] | None:
        """The first row with these values, which a resumed command need not make again."""
        return next((row for row in self.rows if all(row[name] == value for name, value in key.items())), None)

    def write_csv(self, path: Path) -> None:
        """Writes all rows, whole or not at all."""
        with written_whole(path) as part, part.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(self.rows)

    @classmethod
    def read_csv(cls, path: Path, numbers: Iterable[str] = ()) -> ResultsTable:
        """A table that `write_csv` wrote; whole numbers, other numbers, booleans and empty cells come back as such.

        Args:
            path: the file.
            numbers: columns that hold numbers, or nothing, in every row.

        Raises:
            DataError: the file is missing or no such table.
        """
        try:
            with path.open(encoding="utf-8", newline="") as file:
                reader = csv.DictReader(file, strict=True)
                table = cls(tuple(reader.fieldnames or ()))
                for line in reader:
                    table.add({name: _parsed(text) for name, text in line.items()})
        except (OSError, csv.Error, UnicodeDecodeError, AttributeError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}: is no readable table of results ({str(error)[:200]}). Remove it to start anew."
            ) from error
        for column in {*numbers} & {*table.columns}:
            for position, row in enumerate(table.rows, start=2):
                if not _is_number(row[column]):
                    raise DataError(f"{path}, line {position}: {column} is no number. Mend it, or remove the file.")
        return table


def _is_number(cell: Cell) -> bool:
    return cell is None or (isinstance(cell, int | float) and -LARGEST < cell < LARGEST)


def _parsed(text: str) -> Cell:
    if text in ("", "True", "False"):
        return {"": None, "True": True, "False": False}[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
