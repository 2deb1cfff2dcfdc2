from dataclasses import replace

import pytest

from pisr_core import presets
from pisr_core.errors import ConfigError
from pisr_core.metrics.scores import Scores
from pisr_core.results.comparison import compare
from pisr_core.structures import Category


@pytest.fixture
def result():
    empty = Scores((Category(1, "road", False),), instances=False).result(0.0)
    group = replace(empty.panoptic.all, pq=61.2)
    semantic = replace(empty.semantic, miou=80.4, iiou=60.0, iiou_per_class=(None,))
    return replace(empty, panoptic=replace(empty.panoptic, all=group), semantic=semantic)


def test_ours_stands_below_the_papers_row_with_the_difference(result):
    comparisons = compare(presets.load("cityscapes-pdl-r50"), "cityscapes", "val", result)
    assert [(c.table, c.columns) for c in comparisons] == [
        (1, ("PQ", "mIoU")),
        (4, ("PQ",)),
        (5, ("PQ", "mIoU", "iIoU")),
    ]
    lines, (ours,) = comparisons[2].lines()
    assert lines[ours - 1] == ["Panoptic-DL + PISR, RN50", 62.2, 80.2, 64.4]
    assert lines[ours] == ["→ cityscapes-pdl-r50 here", 61.2, 80.4, 60.0]
    assert lines[ours + 1] == ["→ difference", "-1.0", "+0.2", "-4.4"]
    assert len(lines) == 6 + 2


def test_rows_of_other_datasets_and_splits_are_left_out(result):
    config = presets.load("cityscapes-pdl-r50")
    table4 = compare(config, "cityscapes", "val", result)[1]
    assert all(row.preset.startswith("cityscapes") for row in table4.rows) and len(table4.rows) == 3
    config = presets.load("coco-upernet-swinl")
    (val,), (test,) = (compare(config, "coco", split, result) for split in ("val", "test-dev"))
    assert "UPSNet, RN50-FPN" in [row.method for row in val.rows]
    assert [row.preset for row in test.rows if row.preset] == ["coco-upernet-swinl-baseline", "coco-upernet-swinl"]


@pytest.mark.parametrize(
    ("preset", "dataset", "split"),
    [("scenes-pdl-r18", "scenes", "val"), ("cityscapes-pdl-r50", "custom", "val"), ("coco-pdl-r50", "coco", "train")],
)
def test_what_the_paper_does_not_print_is_refused(result, preset, dataset, split):
    with pytest.raises(ConfigError, match=f"no row of {preset} on {dataset} {split}"):
        compare(presets.load(preset), dataset, split, result)
