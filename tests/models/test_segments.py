import pytest
import torch

from pisr_core.models.segments import segment_areas, segment_means


def test_a_mean_over_many_pixels_is_accurate():
    """In single precision 0.9 added 10⁷ times would grow by 1 each time in the end."""
    segment = torch.zeros(2500, 4000, dtype=torch.int32)
    segment[0, :2] = 1
    values = torch.full((2500, 4000), 0.9)
    values[0, 0] = 0.2
    areas = segment_areas(segment, 3)
    assert areas.tolist() == [10**7 - 2, 2, 0]
    mean = segment_means(values, segment, areas)
    assert mean[:2].tolist() == pytest.approx([0.9, 0.55]) and mean[2].isnan()
