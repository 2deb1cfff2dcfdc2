from dataclasses import replace

import numpy as np
import pytest

from pisr_core.config import DataConfig, ScenesConfig
from pisr_core.data import build_dataset
from pisr_core.data.prepare.scenes import prepare_scenes
from pisr_core.data.scenes import SceneDataset
from pisr_core.errors import DataError

CONFIG = ScenesConfig(size=(64, 80), train_images=3, val_images=2)


def test_the_files_are_the_scenes(tmp_path):
    calls = []
    prepare_scenes(tmp_path / "scenes", CONFIG, lambda done, total: calls.append((done, total)))
    assert calls == [(i, 5) for i in range(1, 6)]
    for split, length in (("train", 3), ("val", 2)):
        drawn = SceneDataset(CONFIG, split)
        read = build_dataset(DataConfig(dataset="custom"), split, tmp_path / "scenes")
        assert len(read) == length
        assert [c.name for c in read.categories] == [c.name for c in drawn.categories]
        for index in range(length):
            expected, found = drawn[index], read[index]
            np.testing.assert_array_equal(found.image, expected.image)
            np.testing.assert_array_equal(found.panoptic.ids, expected.panoptic.ids)
            assert {replace(s, score=1.0) for s in found.panoptic.segments} == set(expected.panoptic.segments)


def test_a_dataset_is_not_overwritten(tmp_path):
    prepare_scenes(tmp_path, CONFIG)
    with pytest.raises(DataError, match="already"):
        prepare_scenes(tmp_path, CONFIG)
