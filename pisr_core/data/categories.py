"""The classes of the public datasets, for models that are built where the datasets' files are not at hand."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from cityscapesscripts.helpers.labels import labels as cityscapes_labels

from pisr_core.data.coco.entries import parse_category, show
from pisr_core.data.coco.json_files import load_json
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.errors import ConfigError, DataError
from pisr_core.structures import Category

TABLES = Path(__file__).parent / "tables"
"""Folder of the tables: COCO's 133 panoptic classes, the 150 of the ADE20K scene parsing benchmark, those of films."""


def known_categories(dataset: str) -> tuple[Category, ...]:
    """The classes of a dataset, in the order in which its files give them: by id.

    The public checkpoints number their outputs in the same order, so that no rows need to be moved: COCO's thing
    ids (1 to 90) lie below its stuff ids (92 to 200), Cityscapes' train ids 0 to 18 follow its ids, and ADE20K's ids
    are 0 to 149 themselves.

    Raises:
        ConfigError: only the dataset's own files tell its classes.
    """
    if dataset not in CATEGORIES:
        raise ConfigError(
            f"data.dataset = {dataset!r}: only its files tell its classes; give their folder with --data. "
            f"Known without files: {', '.join(CATEGORIES)}."
        )
    return CATEGORIES[dataset]()


def read_categories(path: Path) -> tuple[Category, ...]:
    """A list of classes, by id.

    Args:
        path: a CSV with the columns `id`, `name`, `isthing` (0 or 1) and, if wanted, `red`, `green`, `blue` and
            `supercategory`; or a JSON with COCO's entries of categories, alone or in a panoptic JSON.

    Raises:
        DataError: the file is missing or broken, or an id comes twice.
    """
    content = _csv_entries(path) if path.suffix.lower() == ".csv" else load_json(path)
    entries = content.get("categories") if isinstance(content, dict) else content
    if not isinstance(entries, list) or not entries:
        raise DataError(f"{path}: has no list of categories. Give a CSV with id, name and isthing, or a panoptic JSON.")
    categories = [parse_category(entry, f"{path}: category {i}") for i, entry in enumerate(entries, start=1)]
    if len({category.id for category in categories}) < len(categories):
        raise DataError(f"{path}: a category id comes twice. Give every category its own.")
    return tuple(sorted(categories, key=lambda category: category.id))


def is_cityscapes(categories: Sequence[Category]) -> bool:
    """Whether these are the classes of Cityscapes, in any order."""
    evaluated = {(label.name, label.hasInstances) for label in cityscapes_labels if not label.ignoreInEval}
    return {(category.name, category.isthing) for category in categories} == evaluated


def _csv_entries(path: Path) -> list[dict[str, Any]]:
    """The rows as COCO's entries."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [_csv_entry(row) for row in csv.DictReader(file)]
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. Give a CSV with the columns id, name and isthing.") from None
    except (OSError, csv.Error, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{path}: is no table of categories ({show(error)}). It needs id, name and isthing.") from error


def _csv_entry(row: dict[str, str]) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": int(row["id"]), "name": row["name"], "isthing": int(row["isthing"])}
    if "red" in row:
        entry["color"] = [int(row[part]) for part in ("red", "green", "blue")]
    return entry | {"supercategory": row.get("supercategory") or ""}


@cache
def _table(name: str) -> tuple[Category, ...]:
    return read_categories(TABLES / f"{name}.csv")


def _cityscapes() -> tuple[Category, ...]:
    """The 19 classes that are evaluated."""
    return tuple(
        Category(label.id, label.name, label.hasInstances, label.color, label.category)
        for label in cityscapes_labels
        if not label.ignoreInEval
    )


NUCLEI_CATEGORIES = (Category(1, "nucleus", True, (220, 20, 60)), Category(2, "background", False, (70, 70, 70)))
"""Those of BBBC038, whose masks are all of one kind."""

CATEGORIES: dict[str, Callable[[], tuple[Category, ...]]] = {
    "scenes": lambda: SCENE_CATEGORIES,
    "coco": partial(_table, "coco"),
    "cityscapes": _cityscapes,
    "ade20k": partial(_table, "ade20k"),
    "nuclei": lambda: NUCLEI_CATEGORIES,
    "vipseg": partial(_table, "vipseg"),
    "ytvis2019": partial(_table, "ytvis2019"),
    "ytvis2021": partial(_table, "ytvis2021"),
    "ovis": partial(_table, "ovis"),
}
"""Where the classes of each public dataset are found."""
