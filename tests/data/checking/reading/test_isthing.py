import json

import pytest

from pisr_core.config import DataConfig
from pisr_core.data import build_dataset
from pisr_core.data.checking.check import check_data
from pisr_core.data.checking.findings import Kind
from pisr_core.data.checking.reading.splits import find_splits
from pisr_core.errors import DataError


@pytest.fixture
def edited(custom_root):
    """The training split with its categories (road, car) and segments of these changed."""

    def edit(road, car, of_segments=None):
        path = custom_root / "annotations" / "panoptic_train.json"
        content = json.loads(path.read_text())
        content["categories"] = [{"id": 1, "name": "road"} | road, {"id": 5, "name": "car"} | car]
        for annotation in content["annotations"]:
            for info, value in zip(annotation["segments_info"], of_segments or (), strict=False):
                info["isthing"] = value
        path.write_text(json.dumps(content))
        return custom_root

    return edit


@pytest.mark.parametrize(
    ("road", "car", "of_segments"),
    [
        ({"isthing": "0"}, {"isthing": "1"}, None),
        ({"isthing": "False"}, {"isthing": "true"}, None),
        ({"isthing": 0.0}, {"isthing": 1}, None),
        ({}, {}, (0, 1)),
        ({}, {"isthing": None}, ("0", "1")),
    ],
)
def test_what_is_clear_is_written(edited, road, car, of_segments):
    root = edited(road, car, of_segments)
    with pytest.raises(DataError, match="'isthing' is .*must be 0 or 1. 'pisr data check --split NAME --fix OUT.json'"):
        build_dataset(DataConfig(), "train", root)
    out = root / "mended.json"
    report = check_data(find_splits(root, names=["train"]), mend_into=out)
    odd = [finding for finding in report.findings if finding.kind is Kind.ISTHING_ODD]
    assert len(odd) == report.changes["categories: isthing written"] == (1 if road.get("isthing") == 0.0 else 2)
    out.replace(root / "annotations" / "panoptic_train.json")
    assert [c.isthing for c in build_dataset(DataConfig(), "train", root).categories] == [False, True]


@pytest.mark.parametrize(
    ("road", "of_segments"), [({}, None), ({"isthing": "perhaps"}, None), ({"isthing": 2}, (0, 1)), ({}, ("x", 1))]
)
def test_what_is_not_clear_needs_a_person(edited, road, of_segments):
    root = edited(road, {"isthing": 1}, of_segments)
    report = check_data(find_splits(root, names=["train"]), mend_into=root / "mended.json")
    assert Kind.ISTHING_ODD not in report.by_kind()
    (finding,) = report.by_kind()[Kind.ENTRY_BROKEN]
    assert finding.detail.startswith("categories[0]: 'isthing' is") and finding.detail.endswith("must be 0 or 1.")
