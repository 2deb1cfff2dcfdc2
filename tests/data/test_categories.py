import json

import pytest

from pisr_core.data.categories import known_categories, read_categories
from pisr_core.errors import ConfigError, DataError
from pisr_core.structures import Category, thing_ids


@pytest.mark.parametrize(
    ("dataset", "classes", "things"),
    [
        ("coco", 133, 80),
        ("cityscapes", 19, 8),
        ("ade20k", 150, 100),
        ("scenes", 15, 9),
        ("vipseg", 124, 58),
        ("ytvis2019", 40, 40),
        ("ytvis2021", 40, 40),
        ("ovis", 25, 25),
    ],
)
def test_numbers_and_order(dataset, classes, things):
    categories = known_categories(dataset)
    assert len(categories) == len({c.id for c in categories}) == classes and len(thing_ids(categories)) == things
    assert [c.id for c in categories] == sorted(c.id for c in categories)


def test_public_checkpoints_number_the_classes_in_this_order():
    """COCO: things, then stuff. Cityscapes: train ids. ADE20K: the ids of the benchmark themselves."""
    coco = known_categories("coco")
    assert thing_ids(coco) == tuple(range(80))
    assert coco[0] == Category(1, "person", True, (220, 20, 60), "person")
    assert coco[80] == Category(92, "banner", False, (255, 255, 128), "textile")
    assert coco[132] == Category(200, "rug-merged", False, (250, 141, 255), "textile")
    cityscapes = known_categories("cityscapes")
    assert [c.name for c in cityscapes][:3] == ["road", "sidewalk", "building"]
    things = [c.name for c in cityscapes if c.isthing]
    assert things == ["person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"]
    assert cityscapes[13] == Category(26, "car", True, (0, 0, 142), "vehicle")
    ade20k = known_categories("ade20k")
    assert [c.id for c in ade20k] == list(range(150))
    assert ade20k[12] == Category(12, "person", True, (150, 5, 61))


def test_a_users_own_classes_are_unknown():
    with pytest.raises(ConfigError, match=r"data\.dataset = 'custom'.*--data"):
        known_categories("custom")


def test_a_table_of_categories(tmp_path):
    path = tmp_path / "classes.csv"
    path.write_text("id,name,isthing,red,green,blue,supercategory\n7,car,1,1,2,3,vehicle\n2,road,0,4,5,6,\n")
    assert read_categories(path) == (
        Category(2, "road", False, (4, 5, 6)),
        Category(7, "car", True, (1, 2, 3), "vehicle"),
    )
    path.write_text("id,name,isthing\n7,car,1\n")
    assert [(c.id, c.name, c.isthing) for c in read_categories(path)] == [(7, "car", True)]


def test_categories_in_json(tmp_path):
    entries = [{"id": 7, "name": "car", "isthing": 1, "color": [1, 2, 3]}]
    for content in (entries, {"images": [], "categories": entries}):
        (tmp_path / "classes.json").write_text(json.dumps(content))
        assert read_categories(tmp_path / "classes.json") == (Category(7, "car", True, (1, 2, 3)),)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "name\ncar\n", "no table of categories"),
        ("a.csv", "id,name,isthing\nseven,car,1\n", "no table of categories"),
        ("a.csv", "id,name,isthing\n7,car,2\n", "category 1: 'isthing' is 2"),
        ("a.csv", "id,name,isthing\n7,car,1\n7,bus,1\n", "comes twice"),
        ("a.csv", "id,name,isthing\n", "has no list of categories"),
        ("a.json", "{}", "has no list of categories"),
    ],
)
def test_broken_lists_of_categories(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=f"{name}: .*{message}"):
        read_categories(tmp_path / name)


def test_a_missing_list_of_categories(tmp_path):
    with pytest.raises(DataError, match="a.csv: no such file"):
        read_categories(tmp_path / "a.csv")
