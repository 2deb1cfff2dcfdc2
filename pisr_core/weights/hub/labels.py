"""Whose classes a network's labels are, where a folder names them but does not say what is a thing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pisr_core.data.categories import known_categories
from pisr_core.errors import CheckpointError
from pisr_core.structures import Category

DATASETS = ("coco", "cityscapes", "ade20k")
"""Those that public networks are trained on."""

OF_FILMS = ("vipseg", "ytvis2019", "ytvis2021", "ovis")
"""Those of public networks for films; some of one number of classes differ in these."""

SAME_CLASSES = 0.8
"""Share of the labels that must begin with the word of a dataset's class at the same place: spellings differ."""


def categories_of_labels(source: Path, labels: Sequence[str], to_predict: bool = True) -> tuple[Category, ...]:
    """The classes of the public dataset whose names the labels are, in the order of the labels.

    Args:
        source: named in messages.
        labels: of the network's outputs.
        to_predict: what is a thing must be known; else names suffice.

    Raises:
        CheckpointError: they are those of no dataset that is known.
    """
    words = [_first_word(label) for label in labels]
    for dataset in (*DATASETS, *OF_FILMS):
        classes = known_categories(dataset)
        same = sum(word == _first_word(category.name) for word, category in zip(words, classes, strict=False))
        if len(classes) == len(labels) and same >= SAME_CLASSES * len(labels):
            return classes
    if not to_predict:
        return tuple(Category(index, label, isthing=True) for index, label in enumerate(labels, start=1))
    raise CheckpointError(
        f"{source}: its {len(labels)} classes ({', '.join(labels[:5])}, …) are of no dataset that is known, so that "
        "nothing says what is a thing. Give --categories FILE: a CSV with the columns id, name and isthing, in the "
        "order of the network's classes, or a panoptic JSON."
    )


def categories_by_number(source: Path, count: int, to_predict: bool = True) -> tuple[Category, ...]:
    """The classes of the public dataset that has so many, for files that name none; see `categories_of_labels`.

    Raises:
        CheckpointError: no dataset that is known has.
    """
    for dataset in DATASETS:
        if len(known_categories(dataset)) == count:
            return known_categories(dataset)
    if not to_predict:
        return tuple(Category(index, f"class {index} of {source.name}", isthing=True) for index in range(1, count + 1))
    raise CheckpointError(
        f"{source}: it knows {count} classes and names none of them. Give --categories FILE: a CSV with the columns "
        "id, name and isthing, in the order of the network's classes, or a panoptic JSON."
    )


def _first_word(name: str) -> str:
    return next(iter(re.findall(r"[a-z0-9]+", name.lower())), "")
