import numpy as np
import pytest
import torch

from pisr_core.models.stage_maps import StageMaps
from pisr_core.structures import PanopticSegmentation
from pisr_core.visualization.stages import ImageMaps


@pytest.mark.parametrize("stride", [4, 8])
@pytest.mark.parametrize("size", [(8, 12), (16, 24)])
def test_maps_and_points_lie_at_their_place_in_the_image(size, stride):
    """A left half of ones stays the left half; the grid's cell (1, 2) of a 2×3 grid is centred in the last sixth."""
    grid = torch.tensor([[1.0, 1, 0], [1, 1, 0]])
    stage = StageMaps(grid[None], grid[None], torch.zeros(1, dtype=torch.long), torch.ones(1))
    image = np.zeros((*size, 3), np.uint8)
    none = PanopticSegmentation(np.zeros(size, np.int32), ())
    maps = ImageMaps(image, (2 * stride, 3 * stride), none, stage, stride=stride)
    heat = maps.at_image_size(grid)
    assert heat.shape == size and (heat[:, : size[1] // 3] == 1).all() and (heat[:, -1] == 0).all()
    assert maps.encoded is stage
    expected = [[size[0] * 0.75 - 0.5, size[1] * 5 / 6 - 0.5]]
    np.testing.assert_allclose(maps.at_image_points(torch.tensor([[1, 2]])), expected, rtol=1e-5)
