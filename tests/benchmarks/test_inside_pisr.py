import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from pisr_core import presets
from pisr_core.data.scenes import SCENE_CATEGORIES
from pisr_core.data.scenes.dataset import SceneDataset
from pisr_core.figures.heatmaps import gather_maps
from pisr_core.models import build_model
from pisr_core.structures import PanopticSegmentation, Segment

SCRIPT = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "inside_pisr.py"))
PANOPTIC = PanopticSegmentation(
    np.repeat(np.repeat(np.array([[5, 5, 9], [5, 5, 0]], np.int32), 4, axis=0), 4, axis=1),
    (Segment(5, category=1, area=64), Segment(9, category=0, area=16)),
)


def test_the_chance_of_being_larger():
    assert SCRIPT["larger"]([3.0, 2.0], [1.0]) == "1.00"
    assert SCRIPT["larger"]([1.0, 2.0], [2.0, 0.0]) == "0.62"  # 1 > 0, 2 > 0, and 2 = 2 counts half: 2.5 of 4
    assert SCRIPT["larger"]([], [1.0]) == "–"


@pytest.fixture
def maps():
    """What a random model computed on a scene; the tests replace what they look at."""
    config = presets.load("scenes-pdl-r18", ["data.scenes.size=[64, 64]", "relation.top_k=5"])
    torch.manual_seed(0)
    model = build_model(config, SCENE_CATEGORIES).eval()
    return gather_maps(model, SceneDataset(config.data.scenes, "val")[0], torch.device("cpu"))


def test_what_the_final_stage_mends_is_counted(maps):
    def stage(*rows):
        classes = 0.1 + 0.7 * one_hot(torch.tensor(rows), 3).permute(2, 0, 1)
        return replace(maps.final, classes=classes, instances=torch.zeros(5, 2, 3), center_heatmap=None)

    maps = replace(maps, initial=stage([1, 0, 0], [0, 1, 0]), final=stage([1, 1, 1], [2, 1, 2]))
    truth = torch.tensor([[5, 5, 9], [5, 5, -1]])
    # Of five known cells three are right at first and three in the end, so that the annotated class has 3 × 0.8 +
    # 2 × 0.1; three change, one of them is mended.
    right = {"annotated": 5, "right at first": 3, "right in the end": 3}
    sums = {"P": 2.6, "P'": 2.6, "changed": 3, "mended": 1}
    assert SCRIPT["count_cells"](maps, truth, PANOPTIC) == pytest.approx({**right, **sums})
