from pathlib import Path

import pytest

from pisr_core.data.categories import known_categories
from pisr_core.errors import CheckpointError
from pisr_core.weights.hub.labels import DATASETS, OF_FILMS, categories_by_number, categories_of_labels


@pytest.mark.parametrize("dataset", [*DATASETS, *OF_FILMS])
def test_labels_are_those_of_the_dataset_with_their_first_words_in_that_order(dataset):
    classes = known_categories(dataset)
    labels = [category.name.replace("_", " ").upper() for category in classes]
    assert categories_of_labels(Path("net"), labels) == classes
    with pytest.raises(CheckpointError, match=f"its {len(labels)} classes .* are of no dataset that is known"):
        categories_of_labels(Path("net"), labels[::-1])


def test_what_networks_for_films_know_is_not_told_by_their_number():
    """Two datasets have 40 classes."""
    for dataset in OF_FILMS:
        with pytest.raises(CheckpointError, match="names none of them"):
            categories_by_number(Path("net"), len(known_categories(dataset)))


def test_things_and_stuff_of_vipseg_by_the_place_of_a_networks_output():
    classes = known_categories("vipseg")
    assert [classes[place].name for place in (0, 2, 60, 66, 123)] == ["wall", "door", "person", "tree", "train"]
    assert [classes[place].isthing for place in (0, 2, 60, 66, 123)] == [False, True, True, False, True]
