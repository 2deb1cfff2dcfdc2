"""The classes of the public datasets, for models that are built where the datasets' files are not at hand."""

from __future__ import annotations

import csv
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cityscapesscripts.helpers.labels import labels as cityscapes_labels

from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.errors import ConfigError
from pisr_core.structures import Category

TABLES = Path(__file__).parent / "tables"
"""Folder of the tables: COCO's 133 panoptic classes and the 150 of the ADE20K scene parsing benchmark."""


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


def _read_table(name: str) -> tuple[Category, ...]:
    with (TABLES / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return tuple(
            Category(
                id=int(row["id"]),
                name=row["name"],
                isthing=row["isthing"] == "1",
                color=(int(row["red"]), int(row["green"]), int(row["blue"])),
                supercategory=row["supercategory"],
            )
            for row in csv.DictReader(file)
        )


def _cityscapes() -> tuple[Category, ...]:
    """The 19 classes that are evaluated."""
    return tuple(
        Category(label.id, label.name, label.hasInstances, label.color, label.category)
        for label in cityscapes_labels
        if not label.ignoreInEval
    )


CATEGORIES: dict[str, Callable[[], tuple[Category, ...]]] = {
    "scenes": lambda: SCENE_CATEGORIES,
    "coco": partial(_read_table, "coco"),
    "cityscapes": _cityscapes,
    "ade20k": partial(_read_table, "ade20k"),
}
"""Where the classes of each public dataset are found."""
