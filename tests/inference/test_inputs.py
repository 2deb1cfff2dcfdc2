import numpy as np
import pytest
from PIL import Image

from pisr_core.config import DataConfig
from pisr_core.data.pictures.value_range import with_value_range
from pisr_core.inference.inputs import Input, prepare


@pytest.mark.parametrize(("value_range", "value"), [((), 25), ((0.0, 4095.0), 6), ((0.0, 500.0), 51)])
def test_deep_images_are_read_in_the_range_of_the_training_images(tmp_path, value_range, value):
    """Values up to 1000: a model that knows no range takes the ten bits that the inputs use."""
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, stored in zip(paths, (100, 1000), strict=True):
        Image.fromarray(np.full((32, 32), stored, np.uint16)).save(path)
    config = with_value_range(DataConfig(value_range=value_range), paths)
    prepared = prepare(Input(1, paths[0], "a.png"), config, 32)
    assert prepared.sample.image.unique().tolist() == [value]
